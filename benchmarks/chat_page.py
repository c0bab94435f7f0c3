"""What the page in the browser costs: the demo's question there and from Python, on the same machine, in one run.

    python benchmarks/chat_page.py

Starts `visagent chat` in a process of its own, opens it in Chromium, and clicks the example that asks the demo's
question about the bundled portrait, each time
after everything was cleared. Times are of the browser's own clock, from the
click to the first word of the answer and to its end; the agent's own time for the same turn stands in the page. The
overhead is the difference: queue, stream, drawing. Beside it, the same question asked from Python.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys

from playwright.sync_api import Page, sync_playwright

from visagent import Agent
from visagent.demo import QUESTION, demo_photo

ROUNDS = 15
WATCH = """() => new Promise(done => {
  const begun = performance.now();
  let first = 0;
  const look = () => {
    const words = document.querySelector('#va-chat').innerText;
    if (!first && words.includes('Attack score')) first = performance.now() - begun;
    const note = document.querySelector('#va-note .va-small');
    const said = note && note.innerText.match(/^Answered in ([0-9.]+) s/);
    if (said && first) { watcher.disconnect(); done([first, performance.now() - begun, 1000 * said[1]]); }
  };
  const watcher = new MutationObserver(look);
  watcher.observe(document.body, {childList: true, subtree: true, characterData: true});
  document.querySelector('#va-example-0').click();
})"""


def ask_in_page(page: Page) -> tuple[float, float, float]:
    """Milliseconds to the first word, to the end, and of the agent's turn in it."""
    page.click("#va-clear")
    page.wait_for_selector("#va-evidence .va-empty")
    page.wait_for_timeout(500)  # the other pages are cleared, too
    first, end, turn = page.evaluate(WATCH)
    return first, end, turn


def main() -> None:
    """Measure and print."""
    agent = Agent()
    agent.ask(QUESTION, demo_photo())
    python = []
    for _ in range(ROUNDS):
        agent.clear()
        python.append(1000 * agent.ask(QUESTION, demo_photo()).seconds)
    process = subprocess.Popen([sys.executable, "-m", "visagent", "chat", "--no-browser"], stdout=subprocess.PIPE,
                               text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split("visagent chat: ")[1].split()[0]
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("dialog", lambda dialog: dialog.accept())
            page.goto(address)
            page.wait_for_selector("#va-question textarea")
            page.wait_for_timeout(8000)  # the models load while the person reads
            page.click("#va-example-0")
            page.wait_for_selector("#va-evidence .va-finding")
            times = [ask_in_page(page) for _ in range(ROUNDS)]
            browser.close()
    finally:
        process.terminate()
        process.wait()
    first, end, turn = (statistics.median(part) for part in zip(*times, strict=True))
    added = statistics.median(end - turn for _, end, turn in times)
    print(f"{ROUNDS} rounds, medians: in the browser first word {first:.0f} ms, full answer {end:.0f} ms, the agent's "
          f"turn in it {turn:.0f} ms, so the page adds {added:.0f} ms; "
          f"the same from Python {statistics.median(python):.0f} ms")


if __name__ == "__main__":
    main()
