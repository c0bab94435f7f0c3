"""What tools drew, on the page: each kind in its own way, where it belongs, and no gap for what is gone."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from visagent.evidence import Artifact, ArtifactKind, Box, Finding
from visagent.media import PictureStore, picture_from_array
from visagent.ui.addresses import SHOWN_SIDE, exact_address
from visagent.ui.evidence_view import evidence_html
from visagent.vision.draw import LAYER_OPACITY

from .html_reader import Element, read

WIDTH, HEIGHT = 80, 60
PLACE = Box(x1=10, y1=20, x2=50, y2=44)


@pytest.fixture
def pictures() -> PictureStore:
    """`image_1`: every pixel another, so that a place of it is known by its pixels; `image_2`: white."""
    store = PictureStore()
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    store.add(picture_from_array(np.dstack([columns * 3, rows * 4, rows * 0]).astype(np.uint8)))
    store.add(picture_from_array(np.full((HEIGHT, WIDTH, 3), 255, np.uint8)))
    return store


def found(*artifacts: Artifact, images: tuple[str, ...] = ("image_1",)) -> Finding:
    return Finding(tool="spoof", answer="spoof", summary="s", images=images, artifacts=artifacts)


def drawn(pictures: PictureStore, kind: ArtifactKind, rgb: np.ndarray | None = None, *, image: str | None = "image_1",
          box: Box | None = PLACE, description: str = "what it shows") -> Artifact:
    handle = pictures.add_artifact(np.full((12, 20, 3), 200, np.uint8) if rgb is None else rgb)
    return Artifact(handle=handle, kind=kind, description=description, image=image, box=box)


def page(pictures: PictureStore, *findings: Finding, made: dict[str, str] | None = None) -> Element:
    return read(evidence_html("Why?", findings, pictures, addresses=made))


def pixels(address: str, mode: str = "RGB") -> np.ndarray:
    kind, data = address.split(",", 1)
    assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
    image = Image.open(BytesIO(base64.b64decode(data, validate=True)))
    assert image.mode == mode
    return np.asarray(image)


class TestPictures:
    def test_a_plot_stands_in_its_finding_with_its_description(self, pictures: PictureStore) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
        shown = page(pictures, found(drawn(pictures, ArtifactKind.picture, noise, image=None, box=None)))
        (figure,) = shown.all("article")[0].all("figure")
        (picture,) = figure.all("img")
        assert picture.attributes["alt"] == figure.all("figcaption")[0].text == "what it shows"
        assert (picture.attributes["width"], picture.attributes["height"]) == ("120", "90")
        assert np.array_equal(pixels(picture.attributes["src"]), noise), "to the pixel: it is evidence"
        assert figure.all("input") == []

    def test_a_part_shows_its_own(self, pictures: PictureStore) -> None:
        whole, part = (drawn(pictures, ArtifactKind.picture, description=text) for text in ("whole", "part"))
        finding = found(whole).model_copy(update={"parts": (found(part),)})
        (outer,) = page(pictures, finding).children[0].all("article")[:1]
        assert [caption.text for caption in outer.all("figcaption")] == ["whole", "part"]
        assert [caption.text for caption in outer.all("article")[0].all("figcaption")] == ["part"]

    def test_big_ones_are_reduced_and_lossy_only_where_they_must(self, pictures: PictureStore) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (1500, 3000, 3), np.uint8)
        plain = np.full((1500, 3000, 3), 255, np.uint8)
        plain[700:720] = (0, 0, 200)
        photo = (noise // 32 + np.linspace(0, 200, 3000)[:, None]).astype(np.uint8)
        assert exact_address(photo).startswith("data:image/jpeg")
        shown = page(pictures, found(*(drawn(pictures, ArtifactKind.picture, rgb) for rgb in (noise, plain))))
        noisy, clear = (picture.attributes["src"] for picture in shown.all("article")[0].all("img"))
        assert pixels(noisy).shape == pixels(clear).shape == (SHOWN_SIDE // 2, SHOWN_SIDE, 3)
        assert noisy.startswith("data:image/jpeg") and clear.startswith("data:image/png")
        assert len(clear) < 50_000


class TestMasks:
    def test_it_lies_on_its_place_over_the_picture_and_under_the_regions(self, pictures: PictureStore) -> None:
        shown = page(pictures, found(drawn(pictures, ArtifactKind.mask)))
        (figure,) = shown.all("figure")
        photo, mask = figure.all("svg")[0].children
        assert photo.attributes["width"] == str(WIDTH)
        assert [float(mask.attributes[name]) for name in ("x", "y", "width", "height")] == [10, 20, 40, 24]
        assert mask.attributes["preserveaspectratio"] == "none", "it fills its place, whatever its own shape"
        assert mask.attributes["aria-label"] == "what it shows" and "hidden" not in mask.attributes
        assert shown.all("article")[0].all("figure") == []

    def test_without_a_place_it_covers_the_whole_picture(self, pictures: PictureStore) -> None:
        _, mask = page(pictures, found(drawn(pictures, ArtifactKind.mask, box=None))).all("image")
        assert [float(mask.attributes[name]) for name in ("x", "y", "width", "height")] == [0, 0, WIDTH, HEIGHT]

    def test_what_is_black_is_seen_through_and_what_is_bright_is_not_opaque(self, pictures: PictureStore) -> None:
        heat = np.repeat(np.array([[0, 128, 255]], np.uint8)[..., None], 3, axis=2)
        _, mask = page(pictures, found(drawn(pictures, ArtifactKind.mask, heat))).all("image")
        alpha = pixels(mask.attributes["href"], "RGBA")[0, :, 3]
        assert alpha.tolist() == [0, round(128 * LAYER_OPACITY), round(255 * LAYER_OPACITY)]

    def test_each_has_a_button_of_its_own(self, pictures: PictureStore) -> None:
        masks = [drawn(pictures, ArtifactKind.mask, image=image, description=text) for image, text in (
            ("image_1", "a"), ("image_2", "b"), ("image_1", "c"))]
        figures = page(pictures, found(*masks, images=("image_1", "image_2"))).all("figure")
        assert [[button.text for button in figure.all("button")] for figure in figures] == [["a", "c"], ["b"]]
        named = {mask.attributes["id"]: mask.attributes["aria-label"] for figure in figures
                 for mask in figure.all("image")[1:]}
        assert len(named) == 3
        for button in (button for figure in figures for button in figure.all("button")):
            target = button.attributes["aria-controls"]
            assert named[target] == button.text and f"'{target}'" in button.attributes["onclick"]
            assert button.attributes["aria-pressed"] == "true" and button.attributes["type"] == "button"

    def test_its_picture_is_shown_though_the_finding_names_none(self, pictures: PictureStore) -> None:
        shown = page(pictures, found(drawn(pictures, ArtifactKind.mask, image="image_2"), images=()))
        (figure,) = shown.all("figure")
        assert figure.all("figcaption")[0].text.startswith("image_2") and len(figure.all("image")) == 2

    def test_it_may_lie_on_what_a_tool_drew(self, pictures: PictureStore) -> None:
        portrait = drawn(pictures, ArtifactKind.picture, np.full((30, 40, 3), 9, np.uint8), description="a portrait")
        mask = drawn(pictures, ArtifactKind.mask, image=portrait.handle, box=None)
        figure = page(pictures, found(portrait, mask)).all("figure")[1]
        assert figure.all("figcaption")[0].text.startswith("a portrait, 40")
        assert [float(figure.all("image")[1].attributes[name]) for name in ("width", "height")] == [40, 30]


class TestComparisons:
    def test_it_is_held_against_the_place_that_it_shows(self, pictures: PictureStore) -> None:
        after = np.full((48, 80, 3), 7, np.uint8)
        shown = page(pictures, found(drawn(pictures, ArtifactKind.comparison, after)))
        (figure,) = shown.all("article")[0].all("figure")
        one, other = figure.all("img")
        assert np.array_equal(pixels(one.attributes["src"]), pictures.pixels("image_1")[20:44, 10:50])
        assert np.array_equal(pixels(other.attributes["src"]), after)
        assert one.attributes["alt"] == "Before: image_1" and other.attributes["alt"] == "what it shows"
        assert figure.all("figcaption")[0].text == "what it shows"
        assert figure.all("div")[0].attributes["style"] == "aspect-ratio:80/48"

    def test_its_line_can_be_moved_by_keys_and_has_a_name(self, pictures: PictureStore) -> None:
        (line,) = page(pictures, found(drawn(pictures, ArtifactKind.comparison))).all("input")
        assert {name: line.attributes[name] for name in ("type", "min", "max", "value")} == {
            "type": "range", "min": "0", "max": "100", "value": "50"}
        assert "before and after" in line.attributes["aria-label"]

    def test_out_of_the_picture_its_edge_goes_on(self, pictures: PictureStore) -> None:
        box = Box(x1=-5, y1=50, x2=5, y2=70)
        one, _ = page(pictures, found(drawn(pictures, ArtifactKind.comparison, box=box))).all("img")
        cut = pixels(one.attributes["src"])
        assert cut.shape == (20, 10, 3)
        assert np.array_equal(cut[:10, 5:], pictures.pixels("image_1")[50:, :5])
        assert (cut[:, :5] == cut[:, 5:6]).all() and (cut[10:] == cut[9:10]).all()

    def test_two_drawings_may_be_held_against_each_other(self, pictures: PictureStore) -> None:
        one = pictures.add_artifact(np.full((12, 20, 3), 30, np.uint8))
        comparison = drawn(pictures, ArtifactKind.comparison, image=one, box=None)
        before, _ = page(pictures, found(comparison)).all("img")
        assert (pixels(before.attributes["src"]) == 30).all()


@pytest.mark.parametrize("kind", ArtifactKind)
def test_what_is_gone_leaves_no_gap(pictures: PictureStore, kind: ArtifactKind) -> None:
    artifact = drawn(pictures, kind)
    for gone in (artifact.model_copy(update={"handle": "artifact_99"}),
                 artifact.model_copy(update={"image": "image_99", "box": None})):
        if gone.image == "image_99" and kind is ArtifactKind.picture:
            continue  # it stands by itself
        shown = page(pictures, found(gone))
        assert len(shown.all("figure")) == 1 and shown.all("input") == [] and len(shown.all("image")) == 1


def test_each_address_is_made_once_and_another_conversation_makes_its_own(pictures: PictureStore) -> None:
    finding = found(*(drawn(pictures, kind) for kind in ArtifactKind))
    made: dict[str, str] = {}
    first = evidence_html("Why?", [finding], pictures, addresses=made)
    assert len(made) == 5, "the photo, the plot, the mask, and both sides of the comparison"
    made["image_1"] = "data:image/png;base64,AAAA"
    assert "base64,AAAA" in evidence_html("Why?", [finding], pictures, addresses=made) and "base64,AAAA" not in first
    assert evidence_html("Why?", [finding], pictures, addresses={}) == first
