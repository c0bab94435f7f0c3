"""Makes the pictures of answers in the README and in docs/: `python docs/make_images.py`.

Real runs on the bundled photo and clip: what is drawn is what the findings of the shipped models say. The answers in
words are printed, for the text beside the pictures.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from visagent import Agent
from visagent.demo import QUESTION, bundled, demo_photo
from visagent.media import PictureStore
from visagent.settings import Settings
from visagent.tools import tool_by_name
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models
from visagent.vision.draw import annotate

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Ask, draw, save."""
    IMAGES.mkdir(exist_ok=True)
    photo = demo_photo()
    answer = Agent().ask(QUESTION, [photo])
    regions = [region for finding in answer.findings for region in finding.regions]
    Image.fromarray(annotate(photo.rgb, regions)).save(IMAGES / "answer.png", optimize=True)
    print(answer.text)
    store, settings = PictureStore(), Settings()
    context = ToolContext(pictures=store, models=Models(settings), settings=settings, draws=True)
    finding = tool_by_name("micro_expression").call({"clip": store.add_clip(bundled("astronaut-clip.mp4"))}, context)
    for artifact, name in zip(finding.artifacts, ("timeline", "apex"), strict=True):
        Image.fromarray(store.artifact(artifact.handle)).save(IMAGES / f"micro-expression-{name}.png", optimize=True)
    print(finding.summary)


if __name__ == "__main__":
    main()
