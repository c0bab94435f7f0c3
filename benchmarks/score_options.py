"""What one prefill saves: weighing eight answers together, against eight forward passes and eight generations.

    python benchmarks/score_options.py [--model FOLDER] [--repeats 20]

All three in turn, in one run, on the face of the bundled portrait; medians in milliseconds, and ratios to the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.resources import files

from langchain_core.messages import SystemMessage

from visagent.agent.engines import open_engine
from visagent.agent.engines.local import LocalEngine
from visagent.agent.engines.scoring import log_likelihoods
from visagent.agent.views import picture_question
from visagent.evidence import Box
from visagent.media import load_picture
from visagent.settings import load_settings
from visagent.tools.expression.tool import EXPRESSION_QUESTION, OPTIONS, VIEW_SIDE
from visagent.vision.crop import take_view

FACE = Box(x1=179, y1=83, x2=267, y2=171)
"""Where the detector finds the face of the portrait."""


def main() -> None:
    """Time, compare, and check that the first two agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="visagent-nano")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    engine = open_engine(load_settings({"model": options.model}))
    assert isinstance(engine, LocalEngine), "this benchmark is about the engine in this process"
    portrait = load_picture((files("visagent") / "assets" / "astronaut.jpg").read_bytes())
    view = take_view(portrait.rgb, FACE, size=VIEW_SIDE).rgb
    messages = [SystemMessage(engine.system_prompt()), picture_question(EXPRESSION_QUESTION, [view])]

    def separate_forwards() -> list[float]:
        end = engine.processor.tokenizer.eos_token_id
        encode = engine.processor.tokenizer
        return [log_likelihoods(engine.model, engine.inputs(messages),
                                [[*encode(option, add_special_tokens=False)["input_ids"], end]])[0]
                for option in OPTIONS]

    def separate_generations() -> list[str]:
        return [engine.look(f"Does this face show {option}?", [view], max_tokens=16).text for option in OPTIONS]

    ways: dict[str, Callable[[], object]] = {
        "one prefill, eight answers": lambda: engine.score(messages, OPTIONS),
        "eight forward passes": separate_forwards,
        "eight generations of at most 16 tokens": separate_generations,
    }
    gap = max(abs(a - b) for a, b in zip(engine.score(messages, OPTIONS), separate_forwards(), strict=True))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():  # in turn, so that a busy moment of the machine hits all alike
            started = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = medians["one prefill, eight answers"]
    if options.json:
        print(json.dumps({"model": engine.identity.model_dump(), "repeats": options.repeats, "milliseconds": medians,
                          "ratio": {name: value / first for name, value in medians.items()}, "largest_gap": gap}))
        return
    print(f"{engine.identity.id} {engine.identity.digest}, {options.repeats} repeats, median milliseconds")
    for name, value in medians.items():
        print(f"{name:40s} {value:9.1f}  {value / first:5.2f} x")
    print(f"largest difference between the log-likelihoods of the first two: {gap:.2e}")


if __name__ == "__main__":
    main()
