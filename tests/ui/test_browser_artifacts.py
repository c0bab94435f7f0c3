"""What tools drew, in a real browser: masks that go and come, a line that moves, by mouse, keys and touch."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from .page_server import ASSETS, Server
from .test_browser import SPOOF, open_tab, wait_for_answer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    OpenPage = Callable[..., Page]

pytestmark = pytest.mark.slow


def seen(part: Locator) -> np.ndarray:
    """What a part of the page looks like, float32 `[H, W, 3]`."""
    return np.asarray(Image.open(BytesIO(part.screenshot())).convert("RGB"), np.float32)


def source(image: Locator) -> np.ndarray:
    address = image.get_attribute("src") or ""
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.split(",")[1]))))


def asked_for_spoof(open_page: OpenPage, server: Server, *, width: int = 1280) -> Page:
    page = open_page(server.url, width=width)
    page.click(SPOOF)
    wait_for_answer(page)
    return page


def test_a_micro_expression_is_told_with_its_timeline_and_its_apex(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.click("button:has-text('Example: micro-expression')")
    wait_for_answer(page)
    said = page.inner_text("#va-chat")
    assert "the clip at" in said and "1 micro-expression." in said and "mouth corner" in said
    evidence = page.locator("#va-evidence")
    shown = evidence.inner_text()
    assert "timeline" in shown and "apex" in shown and "0.600" in shown
    places = [shown.index(f"the clip at {moment} s") for moment in ("0.5", "1.5", "2.5")]
    assert places == sorted(places), "frames in order"
    pictures = [source(image) for image in evidence.locator("img").all()]
    assert sum(picture.ndim == 3 and picture.std() > 10 for picture in pictures) >= 2
    open_tab(page, "Tools")
    page.click("#va-tools button[role=tab]:has-text('Micro expression')")
    page.click("#va-run-micro_expression")
    page.wait_for_selector("#va-result-micro_expression >> text=Put in the clip first")
    page.set_input_files("#va-tool-micro_expression-clip input[type=file]", ASSETS / "astronaut-clip.mp4")
    page.wait_for_selector("#va-tool-micro_expression-clip >> text=astronaut-clip")
    page.click("#va-run-micro_expression")
    page.wait_for_selector("#va-result-micro_expression >> text=1 micro-expression. Positive")


def test_a_mask_goes_and_comes_by_mouse_and_keys(server: Server, open_page: OpenPage) -> None:
    page = asked_for_spoof(open_page, server)
    mask, photo = page.locator("#va-evidence .va-mask"), page.locator("#va-evidence svg")
    button = page.locator("#va-evidence .va-layers button")
    assert "enclosed by a screen" in button.inner_text()
    assert button.get_attribute("aria-pressed") == "true" and mask.is_visible()
    with_mask = seen(photo)
    button.click()
    page.wait_for_timeout(300)
    assert button.get_attribute("aria-pressed") == "false" and not mask.is_visible()
    without = seen(photo)
    assert np.abs(with_mask - without).mean() > 3, "it was to be seen"
    for key in ("Space", "Enter", "Enter"):
        button.press(key)
    assert button.get_attribute("aria-pressed") == "true" and mask.is_visible()
    page.wait_for_timeout(300)
    page.mouse.move(0, 0)
    assert np.abs(seen(photo) - with_mask).mean() < 1
    page.locator(".va-region").last.hover()  # the mask is in nobody's way
    assert page.evaluate("document.querySelector('.va-region:hover') != null")


def test_a_mask_lies_on_its_place(server: Server, open_page: OpenPage) -> None:
    page = asked_for_spoof(open_page, server)
    photo = page.locator("#va-evidence svg")
    with_mask = seen(photo)
    page.click(".va-layers button")
    page.wait_for_timeout(300)
    changed = np.abs(seen(photo) - with_mask).max(axis=2) > 12
    rows, columns = np.nonzero(changed)
    link = page.get_attribute(".va-download", "href") or ""
    (finding,) = json.loads(base64.b64decode(link.split(",")[1]))
    (mask,) = [artifact for artifact in finding["artifacts"] if artifact["kind"] == "mask"]
    shown = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) * 640 / changed.shape[0]
    assert shown == pytest.approx([mask["box"][name] for name in ("x1", "y1", "x2", "y2")], abs=25)


def test_the_line_between_before_and_after_is_moved_by_keys(server: Server, open_page: OpenPage) -> None:
    page = asked_for_spoof(open_page, server)
    slider, line = page.locator(".va-slider").first, page.locator(".va-slider input").first
    before, after = (source(slider.locator("img").nth(place)) for place in (0, 1))
    assert after.shape == (192, 192, 3) and before.shape != after.shape
    line.focus()
    assert page.evaluate("getComputedStyle(document.querySelector('.va-slider')).outlineStyle") == "solid"
    slider.locator(".va-after").evaluate("one => { one.style.filter = 'invert(1)' }")  # so that both are told apart
    shown = {"": seen(slider)}
    for key, value in (("Home", "0"), ("End", "100")):
        line.press(key)
        assert line.input_value() == value
        assert slider.evaluate("one => one.style.getPropertyValue('--va-at')") == f"{value}%"
        shown[key] = seen(slider)
    height, width = shown["Home"].shape[:2]
    for key, pixels in (("Home", 255 - after), ("End", before)):
        expected = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC), np.float32)
        inner = np.s_[height // 10:height * 7 // 10, width // 4:width * 3 // 4]  # without words, knob and edges
        assert np.abs(shown[key] - expected)[inner].mean() < 4, key
    left, right = np.s_[:, width // 10:width * 4 // 10], np.s_[:, width * 6 // 10:width * 9 // 10]
    for part, key in ((left, "End"), (right, "Home")):
        assert np.abs(shown[""] - shown[key])[part].mean() < 1, "before is left of the line, after right of it"
    for _ in range(3):
        line.press("ArrowLeft")
    assert line.input_value() == "97"


def test_the_line_is_where_the_pointer_is(server: Server, open_page: OpenPage) -> None:
    page = asked_for_spoof(open_page, server)
    slider = page.locator(".va-slider").nth(1)
    slider.scroll_into_view_if_needed()
    place = slider.bounding_box()
    assert place is not None
    for share in (0.25, 0.8):
        page.mouse.click(place["x"] + share * place["width"], place["y"] + place["height"] / 3)
        divide = slider.locator(".va-divide").bounding_box()
        assert divide is not None
        assert divide["x"] + divide["width"] / 2 == pytest.approx(place["x"] + share * place["width"], abs=4)
    assert page.locator(".va-slider").first.locator("input").input_value() == "50", "each has its own"


def test_the_line_is_moved_by_a_finger_on_a_phone(server: Server, browser: Browser) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(server.url)
        page.wait_for_selector("#va-question textarea")
        page.tap(SPOOF)
        wait_for_answer(page)
        slider = page.locator(".va-slider").first
        slider.scroll_into_view_if_needed()
        place = slider.bounding_box()
        assert place is not None and place["width"] > 300 and place["x"] + place["width"] <= 390
        page.touchscreen.tap(place["x"] + 0.7 * place["width"], place["y"] + place["height"] / 3)
        assert int(slider.locator("input").input_value()) == pytest.approx(70, abs=3)
        page.locator(".va-layers button").tap()
        assert not page.locator(".va-mask").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_figure_says_what_it_shows_and_is_gone_once_it_is_cleared(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#va-example-3")
    wait_for_answer(page)
    figure = page.locator(".va-drawings figure")
    picture = figure.locator("img")
    assert picture.get_attribute("alt") == figure.locator("figcaption").inner_text()
    assert "left the face in image_1, right the face in image_2" in (picture.get_attribute("alt") or "")
    assert picture.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [308, 150]
    other = open_page(server.url)
    assert other.locator(".va-drawings").count() == 0
    page.click("#va-clear")
    page.wait_for_selector("#va-evidence .va-empty")
    page.reload()
    page.wait_for_selector("#va-evidence .va-empty")
    assert page.locator(".va-drawings").count() == 0


def test_the_other_pages_show_them_too_and_are_cleared_with_the_chat(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    answers = iter([False, True])
    page.on("dialog", lambda dialog: dialog.accept() if next(answers) else dialog.dismiss())
    open_tab(page, "Compare")
    page.set_input_files("#va-first input[type=file]", ASSETS / "astronaut.jpg")
    page.set_input_files("#va-second input[type=file]", ASSETS / "astronaut-replay.jpg")
    page.wait_for_function("document.querySelectorAll('#va-first img, #va-second img').length == 2")
    page.click("#va-compare")
    page.wait_for_selector("#va-compared .va-drawings img")
    open_tab(page, "Tools")
    page.set_input_files("#va-tool-spoof-image input[type=file]", ASSETS / "astronaut-replay.jpg")
    page.wait_for_selector("#va-tool-spoof-image img")
    page.click("#va-run-spoof")
    page.wait_for_selector("#va-result-spoof .va-slider")
    page.click("#va-result-spoof .va-layers button")
    assert not page.locator("#va-result-spoof .va-mask").is_visible()
    open_tab(page, "Chat")
    page.click("#va-clear")  # and the person thinks better of it
    page.wait_for_timeout(500)
    assert page.locator("#va-compared .va-drawings img").count() == 1
    page.click("#va-clear")
    page.wait_for_function("!document.querySelector('#va-compared .va-evidence, #va-result-spoof .va-evidence')")
    assert page.locator("#va-first img, #va-second img, #va-tool-spoof-image img").count() == 0


def test_the_conversation_stays_beside_long_evidence(server: Server, open_page: OpenPage) -> None:
    page = asked_for_spoof(open_page, server)
    page.evaluate("window.scrollTo(0, 950)")
    page.wait_for_timeout(200)
    place = page.locator("#va-question").bounding_box()
    assert place is not None and 0 < place["y"] < 900 - place["height"]
