"""Every page, light, dark and as wide as a phone: nothing sticks out, and what docs/images shows is made here.

`pytest tests/ui/test_screenshots.py --update-screenshots` writes the pictures for the README.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .page_server import ASSETS, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    OpenPage = Callable[..., Page]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LOOKS = {"light": (1280, 900, False), "dark": (1280, 900, True), "phone": (390, 844, False)}
"""Width, height, dark."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("look", LOOKS)
def test_pages_fit(server: Server, open_page: OpenPage, tmp_path: Path, request: pytest.FixtureRequest, look: str
                   ) -> None:
    folder = IMAGES if request.config.getoption("--update-screenshots") else tmp_path
    width, height, dark = LOOKS[look]
    page = open_page(server.url, width=width, height=height, dark=dark)
    assert page.evaluate("document.body.classList.contains('dark')") is dark
    for show in (_chat, _compare, _gallery, _tools):
        show(page)
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(400)  # until what was folding or fading has come to rest
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture = folder / f"page-{show.__name__.strip('_')}-{look}.jpg"
        page.screenshot(path=picture, type="jpeg", quality=82, full_page=True)
        assert picture.stat().st_size > 15_000


def _chat(page: Page) -> None:
    page.click("#va-example-1")
    page.wait_for_function("document.querySelector('#va-note .va-small')?.innerText.startsWith('Answered in')")


def _compare(page: Page) -> None:
    page.click("button[role=tab]:has-text('Compare')")
    page.set_input_files("#va-first input[type=file]", ASSETS / "astronaut.jpg")
    page.set_input_files("#va-second input[type=file]", ASSETS / "astronaut-replay.jpg")
    page.wait_for_function("document.querySelectorAll('#va-first img, #va-second img').length == 2")
    page.click("#va-compare")
    page.wait_for_selector(".va-scale")


def _gallery(page: Page) -> None:
    page.click("button[role=tab]:has-text('Gallery')")
    page.wait_for_selector("#va-people .va-people")
    if page.locator("#va-people li").count() == 0:
        page.set_input_files("#va-enrol-pictures input[type=file]", ASSETS / "astronaut.jpg")
        page.wait_for_selector("#va-enrol-pictures .file-preview, #va-enrol-pictures table")
        page.fill("#va-gallery-enrol-person textarea", "Eileen Collins")
        page.fill("#va-gallery-enrol-purpose textarea", "to show this page")
        page.fill("#va-gallery-enrol-consent textarea", "NASA, public domain")
        page.check("#va-gallery-enrol-keep_thumbnail input")
        page.click("#va-enrol")
        page.wait_for_selector("#va-people img")


def _tools(page: Page) -> None:
    page.click("button[role=tab]:has-text('Tools')")
    page.click("#va-tools button[role=tab]:has-text('Expression')")
    page.set_input_files("#va-tool-expression-image input[type=file]", ASSETS / "astronaut.jpg")
    page.wait_for_selector("#va-tool-expression-image img")
    page.click("#va-run-expression")
    page.wait_for_selector("#va-result-expression .va-finding")
