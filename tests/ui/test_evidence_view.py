"""The evidence on the page: whatever a finding says is text, regions stand where they were found, nothing is left out.

How artifacts are shown is in `test_artifact_view.py`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from visagent.evidence import (
    Artifact,
    ArtifactKind,
    Box,
    Direction,
    Finding,
    ModelIdentity,
    Region,
    Score,
    Vote,
    abstain,
    not_possible,
)
from visagent.media import PictureStore, picture_from_array
from visagent.terminal import clean
from visagent.ui.addresses import SHOWN_SIDE, data_address, jpeg_address
from visagent.ui.evidence_view import Bar, bar, evidence_html, render

from .html_reader import Element, read, skeleton

TIMES, DASH = "\u00d7", "\u2013"
NASTY = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onload="alert(1)', "' onclick='x",
         "</text>", "</title><b>", "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "&amp;", "<!-- x", "]]>",
         "javascript:alert(1)", "`x`"]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(
    st.one_of(st.sampled_from("<>\"'&;=/{}%-` ax"), st.characters(codec="utf-8")), min_size=1, max_size=20))


def store(*sizes: tuple[int, int]) -> PictureStore:
    """Pictures of these widths and heights, and three that a tool drew."""
    pictures = PictureStore()
    for number, (width, height) in enumerate(sizes):
        pictures.add(picture_from_array(np.full((height, width, 3), 40 * number, np.uint8)))
    for shade in (50, 100, 150):
        pictures.add_artifact(np.full((12, 16, 3), shade, np.uint8))
    return pictures


def region(label: str = "glare", image: str = "image_1", score: float | None = None,
           box: tuple[float, float, float, float] = (10, 20, 30, 40)) -> Region:
    x1, y1, x2, y2 = box
    return Region(label=label, image=image, box=Box(x1=x1, y1=y1, x2=x2, y2=y2), score=score)


def telling(text: str, *, digest: str | None = "0" * 16) -> Finding:
    """A finding that says this text wherever a finding can say something."""
    model, other = ModelIdentity(id=text, digest=digest), ModelIdentity(id="other")
    drawn = (Artifact(handle="artifact_1", kind=ArtifactKind.picture, description=text),
             Artifact(handle="artifact_2", kind=ArtifactKind.mask, description=text, image="image_1"),
             Artifact(handle="artifact_3", kind=ArtifactKind.comparison, description=text, image="image_1"))
    part = Finding(tool=text, answer=text, summary=text, images=("image_1",), caveats=(text,))
    return Finding(
        tool=text, answer=text, summary=text, images=("image_1",), model=model,
        scores=(Score(name=text, value=0.5, threshold=0.4, threshold_source=text, model=text),
                Score(name=text, value=7, model=text)),
        regions=(region(text), region(text, score=0.5)), artifacts=drawn, caveats=(text, text), votes=(
            Vote(model=model, answer=text), Vote(model=other, answer=f"not {text}")),
        parts=(part, abstain(text, text), not_possible(text, text)))


def page_of(text: str) -> str:
    return evidence_html(text, [telling(text), abstain(text, text)], store((80, 60)),
                         caption=lambda picture: text)


@given(TEXTS)
@example("<b>")
def test_whatever_is_said_becomes_no_element_and_no_attribute(text: str) -> None:
    assert skeleton(page_of(text)) == skeleton(page_of("harmless"))


@given(TEXTS)
def test_whatever_is_said_is_there_to_be_read(text: str) -> None:
    page, said = read(page_of(text)), clean(text)  # what nobody sees is left out
    assert said in page.all("h3")[0].text
    first = page.all("article")[0]
    heading = first.all("h4")[0]
    assert heading.all("span")[0].text == said and heading.all("strong")[0].text == said
    votes = [item.text for item in first.all("ul")[0].all("li")]
    assert votes == [f"{said} says {said}", f"other says not {said}"]
    rows = first.all("th")[-2:]
    assert all(row.text.startswith(said + said) for row in rows), "the score's name and its model's"
    texts = [line.text for line in first.all("p")]
    assert said in texts and f"Threshold: {said}" in texts and f"Model: {said} ({'0' * 16})" in texts
    figure = page.all("figure")[0]
    assert [label.text for label in figure.all("text")] == [said, f"{said} 0.50"]
    assert [title.text for title in figure.all("title")] == [f"{said} [10, 20, 30, 40]",
                                                             f"{said} 0.50 [10, 20, 30, 40]"]
    assert figure.all("figcaption")[0].text == f"{said}, 80 {TIMES} 60 px"
    assert [chip.text for chip in figure.all("button")] == [f"{said} [10, 20, 30, 40]",
                                                            f"{said} 0.50 [10, 20, 30, 40]", said]
    assert figure.all("image")[1].attributes["aria-label"] == said
    drawn = page.all("figure")[1:]
    assert [shown.all("figcaption")[0].text for shown in drawn] == [said, said]
    assert [picture.attributes["alt"] for shown in drawn for picture in shown.all("img")] == [
        said, f"Before: {said}", said]
    assert figure.all("g")[0].attributes["aria-label"] == f"{said}, [10, 20, 30, 40] pixels"
    assert [cell.attributes["title"] for cell in page.all("td") if "title" in cell.attributes] == [said]
    outcomes = [part.all("strong")[0].text for part in page.all("article")[1:4]]
    assert outcomes == [said, f"no verdict - {said}", f"not possible - {said}"]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("template", ["problem.html", "done.html"])
def test_small_messages_are_text_too(template: str, text: str) -> None:
    page = read(render(template, text=text))
    assert [element.tag for element in page.walk()] == ["p"] and page.text.strip() == text


@pytest.mark.parametrize("text", NASTY)
def test_people_and_scales_are_text_too(text: str) -> None:
    def people(said: str) -> str:
        told = {"name": said, "samples": 2, "since": said, "until": said, "purpose": said, "consent": said}
        return render("people.html", people=[{**told, "picture": jpeg_address(b"x")}, {**told, "picture": ""}])

    def scale(said: str) -> str:
        return render("scale.html", answer=said, value=0.9, place=50.0, marks=[{"place": 10.0, "text": said}],
                      same=60.0, threshold=0.92, different=20.0, lowest=0.8, highest=1.0, data=said)

    for template in (people, scale):
        assert skeleton(template(text)) == skeleton(template("harmless"))
        assert text in read(template(text)).text


def test_no_link_leads_out_and_no_source_is_fetched() -> None:
    for element in read(page_of("harmless")).walk():
        for name in ("href", "src", "action", "xlink:href", "srcset"):
            assert element.attributes.get(name, "data:").startswith("data:")
        scripts = {name: value for name, value in element.attributes.items() if name.startswith("on")}
        assert all(OWN_SCRIPTS.fullmatch(value) for value in scripts.values())


OWN_SCRIPTS = re.compile(
    r"document\.getElementById\('va-region-chat-\d+'\)\.focus\(\)|"
    r"this\.setAttribute\('aria-pressed', "
    r"!document\.getElementById\('va-mask-chat-\d+'\)\.toggleAttribute\('hidden'\)\)|"
    r"this\.parentNode\.style\.setProperty\('--va-at', this\.value \+ '%'\)")
"""What the page may do by itself: nothing that is said comes into it."""


def boxes(figure: Element) -> list[tuple[float, ...]]:
    """Left, top, width and height of every rectangle."""
    sides = ("x", "y", "width", "height")
    return [tuple(float(rect.attributes[side]) for side in sides) for rect in figure.all("rect")]


class TestPictures:
    def test_regions_are_drawn_where_they_were_found(self) -> None:
        finding = Finding(tool="spoof", answer="spoof", summary="s", images=("image_1",), regions=(
            region("glare", box=(10.25, 20, 60.75, 90)), region("moire", box=(-5, 0, 3, 400.04))))
        page = read(evidence_html("Why?", [finding], store((200, 400))))
        (figure,) = page.all("figure")
        assert figure.all("svg")[0].attributes["viewbox"] == "0 0 200 400"
        assert figure.all("image")[0].attributes["width"] == "200"
        assert figure.all("image")[0].attributes["height"] == "400"
        assert boxes(figure) == [pytest.approx((10.25, 20, 50.5, 70), abs=0.06),
                                 pytest.approx((-5, 0, 8, 400.04), abs=0.06)]

    def test_the_picture_itself_is_under_its_regions(self) -> None:
        pictures = store((80, 60), (60, 80))
        finding = Finding(tool="faces", answer="1", summary="s", images=("image_2",), regions=(
            region("face", "image_2"),))
        (figure,) = read(evidence_html("Why?", [finding], pictures)).all("figure")
        shown = pixels(figure.all("image")[0].attributes["href"])
        assert shown.shape == (80, 60, 3) and abs(int(shown.mean()) - 40) <= 2, "image_2, not image_1"
        assert [child.tag for child in figure.all("svg")[0].children] == ["image", "g"], "drawn over the picture"

    def test_each_region_stands_on_its_own_picture(self) -> None:
        finding = Finding(tool="verify", answer="same", summary="s", images=("image_1", "image_2"), regions=(
            region("a", "image_1"), region("b", "image_2"), region("c", "image_1")))
        figures = read(evidence_html("Same?", [finding], store((80, 60), (80, 60)))).all("figure")
        assert [[text.text for text in figure.all("text")] for figure in figures] == [["a", "c"], ["b"]]
        assert [figure.all("figcaption")[0].text for figure in figures] == [
            f"image_1, 80 {TIMES} 60 px", f"image_2, 80 {TIMES} 60 px"]

    def test_every_chip_leads_to_its_region(self) -> None:
        finding = Finding(tool="verify", answer="same", summary="s", images=("image_1", "image_2"), regions=(
            region("a", "image_1"), region("b", "image_2"), region("c", "image_1")))
        page = read(evidence_html("Same?", [finding], store((80, 60), (80, 60))))
        marked = {group.attributes["id"]: group for group in page.all("g")}
        assert len(marked) == 3
        for chip in page.all("button"):
            target = marked[chip.attributes["onclick"].split("'")[1]]
            assert chip.text.startswith(target.all("text")[0].text)
            assert chip.attributes["style"] == target.attributes["style"]

    def test_regions_of_one_picture_have_different_colours(self) -> None:
        finding = Finding(tool="spoof", answer="spoof", summary="s", regions=tuple(
            region(f"area {number}") for number in range(9)))
        marked = read(evidence_html("Why?", [finding], store((80, 60)))).all("g")
        styles = [group.attributes["style"] for group in marked]
        assert len(set(styles)) == 7 and styles[:2] == styles[7:]

    def test_a_region_that_two_findings_tell_is_drawn_once(self) -> None:
        findings = [Finding(tool=tool, answer="x", summary="s", regions=(region("face"),)) for tool in ("a", "b")]
        (figure,) = read(evidence_html("Why?", findings, store((80, 60)))).all("figure")
        assert len(figure.all("rect")) == 1

    def test_regions_of_parts_are_drawn(self) -> None:
        part = Finding(tool="spoof", answer="live", summary="s", regions=(region("face 2", box=(1, 2, 3, 4)),))
        whole = Finding(tool="spoof", answer="2", summary="s", regions=(region("face 1"),), parts=(part,))
        (figure,) = read(evidence_html("Why?", [whole], store((80, 60)))).all("figure")
        assert [text.text for text in figure.all("text")] == ["face 1", "face 2"]

    @pytest.mark.parametrize("box", [(70, 2, 79, 10), (0, 0, 80, 60), (10, 40, 30, 59), (0, 0, 1, 1)])
    def test_labels_stay_inside_the_picture(self, box: tuple[float, float, float, float]) -> None:
        finding = Finding(tool="spoof", answer="spoof", summary="s", regions=(region("glare", box=box),))
        (label,) = read(evidence_html("Why?", [finding], store((80, 60)))).all("text")
        assert 0 <= float(label.attributes["x"]) <= 80 * 0.6 + 0.1
        assert float(label.attributes["font-size"]) <= float(label.attributes["y"]) <= 60

    def test_only_pictures_that_a_finding_speaks_of_are_shown(self) -> None:
        finding = Finding(tool="spoof", answer="live", summary="s", images=("image_2",))
        figures = read(evidence_html("Why?", [finding], store((80, 60), (60, 80), (70, 70)))).all("figure")
        assert [figure.all("figcaption")[0].text for figure in figures] == [f"image_2, 60 {TIMES} 80 px"]

    @pytest.mark.parametrize("findings", [
        [], [Finding(tool="people", answer="0", summary="s")],
        [Finding(tool="spoof", answer="live", summary="s", images=("image_9",))]])
    def test_all_are_shown_if_none_is_spoken_of_newest_first(self, findings: list[Finding]) -> None:
        figures = read(evidence_html("Why?", findings, store((80, 60), (60, 80)))).all("figure")
        assert [figure.all("figcaption")[0].text for figure in figures] == [
            f"image_2, 60 {TIMES} 80 px", f"image_1, 80 {TIMES} 60 px"]

    def test_pictures_that_are_gone_leave_no_gap(self) -> None:
        finding = Finding(tool="spoof", answer="live", summary="s", images=("image_9", "image_1"), regions=(
            region("map", "artifact_9"), region("gone", "image_9"), region("here", "image_1")))
        (figure,) = read(evidence_html("Why?", [finding], store((80, 60)))).all("figure")
        assert [text.text for text in figure.all("text")] == ["here"]

    def test_a_region_of_what_a_tool_drew_stands_on_it(self) -> None:
        finding = Finding(tool="spoof", answer="live", summary="s", regions=(region("here", "artifact_2"),))
        (figure,) = read(evidence_html("Why?", [finding], store((80, 60)))).all("figure")
        assert figure.all("figcaption")[0].text == f"artifact_2, 16 {TIMES} 12 px"
        assert [text.text for text in figure.all("text")] == ["here"]

    def test_captions_name_pictures(self) -> None:
        page = read(evidence_html("Why?", [], store((80, 60)), caption=lambda picture: f"{picture} (at 2.0 s)"))
        assert page.all("figcaption")[0].text == f"image_1 (at 2.0 s), 80 {TIMES} 60 px"

    def test_landmarks_are_drawn_on_their_picture(self) -> None:
        points = {"image_1": [(1.0, 2.0), (30.26, 40.0)], "image_2": [(5.0, 6.0)]}
        figures = read(evidence_html("Same?", [], store((80, 60), (80, 60)), landmarks=lambda image: points[image])
                       ).all("figure")
        drawn = [[(float(c.attributes["cx"]), float(c.attributes["cy"])) for c in figure.all("circle")]
                 for figure in figures]
        assert drawn == [[(5.0, 6.0)], [pytest.approx((1.0, 2.0)), pytest.approx((30.26, 40.0), abs=0.06)]]

    @pytest.mark.parametrize(("size", "expected"), [
        ((3000, 1500), (SHOWN_SIDE, SHOWN_SIDE // 2)), ((500, 2048), (SHOWN_SIDE // 4 - 6, SHOWN_SIDE)),
        ((SHOWN_SIDE, 300), (SHOWN_SIDE, 300)), ((80, 60), (80, 60)), ((3000, 16), (SHOWN_SIDE, 5))])
    def test_big_pictures_are_reduced_and_small_ones_are_not(self, size: tuple[int, int],
                                                             expected: tuple[int, int]) -> None:
        pictures = store(size)
        shown = pixels(data_address(pictures.get("image_1").rgb))
        assert (shown.shape[1], shown.shape[0]) == expected
        (figure,) = read(evidence_html("Why?", [], pictures)).all("figure")
        assert figure.all("svg")[0].attributes["viewbox"] == f"0 0 {size[0]} {size[1]}", "boxes stay in its own pixels"
        assert pixels(figure.all("image")[0].attributes["href"]).shape == shown.shape

    def test_another_side_may_be_asked_for(self) -> None:
        assert pixels(data_address(store((100, 50)).get("image_1").rgb, side=20)).shape == (10, 20, 3)

    def test_colours_are_not_swapped(self) -> None:
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 255
        shown = pixels(data_address(red))
        assert shown[..., 0].min() > 240 and shown[..., 2].max() < 16


def pixels(address: str) -> np.ndarray:
    kind, data = address.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(data, validate=True))) as picture:
        assert picture.format == "JPEG"
        return np.asarray(picture)


def shown(finding: Finding) -> Element:
    return read(evidence_html("Why?", [finding], store((80, 60)))).all("article")[0]


class TestFindings:
    def test_votes_that_differ_are_shown_as_such(self) -> None:
        votes = (Vote(model=ModelIdentity(id="a"), answer="live"), Vote(model=ModelIdentity(id="b"), answer="spoof"))
        article = shown(Finding(tool="spoof", answer="spoof", summary="s", votes=votes))
        (note,) = [found for found in article.all("div") if found.attributes.get("role") == "note"]
        assert "The models differ." in note.text
        assert [item.text for item in note.all("li")] == ["a says live", "b says spoof"]

    def test_votes_that_agree_are_shown_in_a_line(self) -> None:
        votes = tuple(Vote(model=ModelIdentity(id=name), answer="live") for name in ("a", "b"))
        article = shown(Finding(tool="spoof", answer="live", summary="s", votes=votes))
        assert "differ" not in article.text and "a: live, b: live" in article.text

    def test_one_vote_alone_is_not_worth_a_line(self) -> None:
        article = shown(Finding(tool="spoof", answer="live", summary="s", votes=(
            Vote(model=ModelIdentity(id="lonely"), answer="live"),)))
        assert "lonely" not in article.text

    def test_scores_stand_against_their_thresholds(self) -> None:
        scores = (
            Score(name="attack score", value=0.8312, threshold=0.5, threshold_source="development split"),
            Score(name="distance", value=0.4, threshold=0.3, threshold_source="development split",
                  direction=Direction.LOWER, model="other"),
            Score(name="faces", value=3), Score(name="sharpness", value=12.5))
        article = shown(Finding(tool="spoof", answer="spoof", summary="s", scores=scores))
        rows = [[cell.text for cell in row.all("td")] for row in article.all("tr")[1:]]
        assert rows == [["0.831", "≥ 0.500", "yes"], ["0.400", "≤ 0.300", "no"], ["3", DASH, DASH],
                        ["12.500", DASH, DASH]]
        names = [row.all("th")[0].text.split() for row in article.all("tr")[1:]]
        assert names == [["attack", "score"], ["distanceother"], ["faces"], ["sharpness"]]
        assert [line.text for line in article.all("p")].count("Threshold: development split") == 1

    def test_bars_stand_where_the_numbers_say(self) -> None:
        scores = tuple(Score(name=f"s{value}", value=value, threshold=0.25, threshold_source="x")
                       for value in (0.0, 0.75, 1.0, 1.5))
        article = shown(Finding(tool="spoof", answer="spoof", summary="s", scores=scores))
        bars = [[part.attributes for part in row.all("span")[1:]] for row in article.all("tr")[1:]]
        assert [[part["style"] for part in parts] for parts in bars] == [
            ["width:0.0%", "left:25.0%"], ["width:75.0%", "left:25.0%"], ["width:100.0%", "left:25.0%"], []]
        assert ["va-passes" in parts[0]["class"] for parts in bars[:3]] == [False, True, True]

    def test_why_there_is_no_answer_is_said_once(self) -> None:
        article = shown(abstain("spoof", "the face is blurred", caveats=("Take care.",)))
        assert article.text.count("the face is blurred") == 1 and "Take care." in article.text
        assert "va-abstained" in article.all("strong")[0].attributes["class"]

    def test_models_are_named_with_their_digest_if_there_is_one(self) -> None:
        for digest, expected in (("ab" * 8, f"Model: judge ({'ab' * 8})"), (None, "Model: judge")):
            finding = Finding(tool="spoof", answer="live", summary="s", model=ModelIdentity(id="judge", digest=digest))
            assert expected in [line.text for line in shown(finding).all("p")]

    def test_parts_stand_inside_of_their_whole(self) -> None:
        inner = Finding(tool="spoof", answer="live", summary="innermost")
        part = Finding(tool="spoof", answer="spoof", summary="inner", parts=(inner,))
        article = shown(Finding(tool="spoof", answer="2", summary="outer", parts=(part, abstain("spoof", "dark"))))
        assert [found.all("strong")[0].text for found in article.all("article")] == [
            "spoof", "live", "no verdict - dark"]
        assert len(article.all("article")[0].all("article")) == 1

    def test_findings_stand_in_their_order(self) -> None:
        findings = [Finding(tool=tool, answer="x", summary="s") for tool in ("b", "a", "c")]
        page = read(evidence_html("Why?", findings, store()))
        assert [found.all("span")[0].text for found in page.all("article")] == ["b", "a", "c"]
        assert page.all("figure") == []



class TestDownload:
    @given(TEXTS)
    def test_it_is_what_was_found_as_json(self, text: str) -> None:
        findings = [telling(text, digest=None), not_possible("spoof", "no")]
        (link,) = read(evidence_html(text, findings, store((80, 60)))).all("a")
        assert link.attributes["download"] == "visagent-findings.json"
        assert [Finding.model_validate(found) for found in downloaded(link.attributes)] == findings

    def test_it_holds_no_pixels(self) -> None:
        (link,) = read(evidence_html("Why?", [telling("x")], store((80, 60)))).all("a")
        assert "base64" not in json.dumps(downloaded(link.attributes))

    def test_without_findings_there_is_nothing_to_save(self) -> None:
        assert read(evidence_html("Why?", [], store((80, 60)))).all("a") == []


def downloaded(attributes: Mapping[str, str]) -> list[object]:
    kind, data = attributes["href"].split(",", 1)
    assert kind == "data:application/json;base64"
    found: list[object] = json.loads(base64.b64decode(data, validate=True))
    return found


@pytest.mark.parametrize(("value", "threshold", "expected"), [
    (0.0, 0.5, Bar(0, 50)), (1.0, 0.5, Bar(100, 50)), (0.25, 0.0, Bar(25, 0)), (0.25, 1.0, Bar(25, 100)),
    (1.001, 0.5, None), (-0.001, 0.5, None), (0.5, 1.001, None), (0.5, -0.001, None), (-1.0, 2.0, None),
    (0.5, None, None), (3.0, None, None)])
def test_a_bar_is_drawn_from_zero_to_one_only(value: float, threshold: float | None, expected: Bar | None) -> None:
    score = Score(name="s", value=value, threshold=threshold, threshold_source="x")
    assert bar(score) == expected


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_bar_never_leaves_its_line(value: float, threshold: float) -> None:
    drawn = bar(Score(name="s", value=value, threshold=threshold, threshold_source="x"))
    if drawn is not None:
        assert drawn.threshold is not None
        assert 0 <= drawn.value <= 100 and 0 <= drawn.threshold <= 100
    else:
        assert not (0 <= value <= 1 and 0 <= threshold <= 1)


def test_before_the_first_answer_the_page_says_what_will_stand_there() -> None:
    assert "appear here" in read(render("no_evidence.html")).text
