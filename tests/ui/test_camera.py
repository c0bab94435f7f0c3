"""The camera: a person takes a picture with it and asks about that; a file stands in for what it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from .conftest import CHROMIUM
from .page_server import ASSETS, Server
from .test_browser import ask, open_tab, wait_for_answer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    OpenPage = Callable[..., Page]

FACE = (165, 76, 256, 167)
"""Where she is in what the camera sees: left of the middle, so that a mirrored picture is told from this one."""
WATCH_CAMERA = """() => {
  window.streams = [];
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wish => { const one = await open(wish); streams.push(one); return one };
}"""
CAMERAS_ON = "streams.flatMap(one => one.getTracks()).filter(track => track.readyState == 'live').length"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a camera that sees the portrait, left in a wider gray picture, and a person who allows it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    seen = _film(tmp_path_factory.mktemp("camera") / "seen.mjpeg")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={seen}"])
        yield opened
        opened.close()


def take_picture(page: Page, place: str) -> None:
    """Switch the camera on, and press its button once it sees something."""
    page.click(f"{place} button:has-text('Click to Access Webcam')")
    page.wait_for_function("place => document.querySelector(`${place} video`)?.videoWidth > 0", arg=place)
    page.click(f"{place} [aria-label='capture photo']")
    page.wait_for_selector(f"{place} img[src*='file=']")


def test_a_picture_is_taken_and_asked_about(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.evaluate(WATCH_CAMERA)
    page.click("text=Take a picture with the camera")
    assert page.evaluate("streams.length") == 0, "it is off until the person asks for it"
    take_picture(page, "#va-camera")
    assert page.evaluate("streams.length") == 1 and page.evaluate(CAMERAS_ON) == 0, "it is off again"
    ask(page, "How many faces are there?")
    wait_for_answer(page)
    assert "1 face in image_1" in page.inner_text("#va-chat")
    region = page.locator("#va-evidence .va-region rect")
    box = [float(region.get_attribute(name) or 0) for name in ("x", "y", "width", "height")]
    assert box == pytest.approx([FACE[0], FACE[1], FACE[2] - FACE[0], FACE[3] - FACE[1]], abs=12), "not mirrored"
    assert "640 \u00d7 480 px" in page.inner_text("#va-evidence figcaption >> nth=0")
    page.wait_for_selector("#va-camera button:has-text('Click to Access Webcam')")  # it went with that question alone
    ask(page, "And what expression does she show?")
    wait_for_answer(page, 2)
    assert "image_2" not in page.inner_text("#va-chat")


def test_a_picture_is_taken_on_the_other_pages(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.evaluate(WATCH_CAMERA)
    open_tab(page, "Compare")
    page.click("#va-first [aria-label='Capture from camera']")
    take_picture(page, "#va-first")
    page.set_input_files("#va-second input[type=file]", ASSETS / "astronaut.jpg")
    page.wait_for_selector("#va-second img")
    page.click("#va-compare")
    page.wait_for_selector(".va-scale")
    assert page.inner_text(".va-verdict strong") == "same"
    open_tab(page, "Tools")
    page.click("#va-tools button[role=tab]:has-text('Faces')")
    page.click("#va-tool-faces-image [aria-label='Capture from camera']")
    take_picture(page, "#va-tool-faces-image")
    page.click("#va-run-faces")
    page.wait_for_selector("#va-result-faces .va-region")
    assert page.evaluate("streams.length") == 2 and page.evaluate(CAMERAS_ON) == 0


def _film(path: Path) -> Path:
    import av

    portrait = Image.open(ASSETS / "astronaut.jpg").resize((480, 480))
    scene = Image.new("RGB", (640, 480), "gray")
    scene.paste(portrait, (0, 0))
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuvj420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(scene), format="rgb24")))
        container.mux(stream.encode())
    return path
