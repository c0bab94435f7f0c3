"""How long a person waits for the demo's answer: start-up, first word, whole answer.

    python benchmarks/answer_time.py [--model FOLDER] [--repeats 3]

Every repeat is a new process (the first may read the weights from disk); in it the question is asked twice, so that
the second time shows the wait once everything is loaded. Medians in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

CHILD = """
import json, sys, time
started = time.perf_counter()
from importlib.resources import files
from visagent.agent import Agent
from visagent.agent.events import Completed, TextChunk
from visagent.media import load_picture
from visagent.settings import load_settings
photo = load_picture((files("visagent") / "assets" / "astronaut.jpg").read_bytes())
imported = time.perf_counter()
agent = Agent(load_settings({"model": sys.argv[1]}))
times = {"imports": imported - started}
for name in ("cold", "warm"):
    asked, first, text = time.perf_counter(), None, ""
    for event in agent.stream("Is this a live face or a spoof? Why? Show me where.", [photo]):
        if isinstance(event, TextChunk) and first is None:
            first = time.perf_counter() - asked
        if isinstance(event, Completed):
            text = event.answer.text
    times[f"{name}: whole answer"] = time.perf_counter() - asked
    times[f"{name}: first word"] = first if first is not None else times[f"{name}: whole answer"]
    agent.clear()
times["answer"] = text
print(json.dumps(times))
"""


def main() -> None:
    """Ask in new processes, and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="visagent-nano")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs: list[dict[str, float]] = []
    answer = ""
    for _ in range(options.repeats):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", CHILD, options.model], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "The question failed.")
        times = json.loads(done.stdout.splitlines()[-1])
        answer = times.pop("answer")
        runs.append(times | {"whole process": time.perf_counter() - started})
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if options.json:
        print(json.dumps({"repeats": options.repeats, "cores": os.cpu_count(), "seconds": medians, "answer": answer}))
        return
    print(f"{options.model}, {options.repeats} processes, {os.cpu_count()} cores, median seconds")
    for name, value in medians.items():
        print(f"{name:24s} {value:7.2f}")
    print(f"answer: {answer}")


if __name__ == "__main__":
    main()
