"""Makes docs/images/answer.png, the picture in the README: `python docs/make_images.py`.

A real run: the shipped model is asked the demo's question about the bundled photo, and what is drawn is what its
findings say. The answer in words is printed, for the text beside the picture.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from visagent import Agent
from visagent.demo import QUESTION, demo_photo
from visagent.vision.draw import annotate

IMAGE = Path(__file__).parent / "images" / "answer.png"


def main() -> None:
    """Ask, draw, save."""
    photo = demo_photo()
    answer = Agent().ask(QUESTION, [photo])
    regions = [region for finding in answer.findings for region in finding.regions]
    IMAGE.parent.mkdir(exist_ok=True)
    Image.fromarray(annotate(photo.rgb, regions)).save(IMAGE, optimize=True)
    print(answer.text)


if __name__ == "__main__":
    main()
