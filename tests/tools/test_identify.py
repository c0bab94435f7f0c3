"""Enrol, identify, list and forget, with real faces found and screened; the encoder is a double that reads a tint."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visagent.agent.approval import propose
from visagent.agent.toolkit import tool_schema
from visagent.evidence import Finding, State
from visagent.gallery.index import Match
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.enrol.tool import ENROL
from visagent.tools.forget.tool import FORGET
from visagent.tools.identify import tool as identify_tool
from visagent.tools.identify.assignment import assign
from visagent.tools.identify.tool import IDENTIFY
from visagent.tools.models import Models
from visagent.tools.people.tool import PEOPLE
from visagent.tools.recognition.access import gallery_of, open_gallery
from visagent.tools.recognition.liveness import Screening
from visagent.tools.verify.tool import VERIFY
from visagent.vision.encoder import open_encoder

from .people_scene import TintEncoder, portrait

WORDS = {"purpose": "the door of lab 3", "consent": "form 12"}
Scene = Callable[..., ToolContext]


@pytest.fixture
def scene(astronaut: np.ndarray, specialists: Models, tmp_path: Path) -> Scene:
    """`scene("ada", "bob", ...)`: a context whose pictures are of these people; lists are side by side."""
    class Doubled(Models):
        def get(self, load: Any, *arguments: Any) -> Any:
            if load is open_encoder:
                return super().get(TintEncoder)
            return super().get(load, *arguments) if load is open_gallery else specialists.get(load, *arguments)

    models = Doubled()

    def make(*pictures: str | list[str] | np.ndarray, settings: Settings | None = None, light: float = 1.0
             ) -> ToolContext:
        store = PictureStore()
        for picture in pictures:
            rgb = picture if isinstance(picture, np.ndarray) else np.hstack([
                portrait(astronaut, who, light=light) for who in ([picture] if isinstance(picture, str) else picture)])
            store.add(picture_from_array(np.ascontiguousarray(rgb)))
        return ToolContext(store, models, settings or Settings(gallery=str(tmp_path / "gallery")))

    return make


def call(tool: Any, context: ToolContext, **arguments: object) -> Finding:
    finding: Finding = tool.call(arguments, context)
    return finding


def enrol(scene: Scene, *people: str) -> None:
    for person in people:
        finding = call(ENROL, scene(person), images=["image_1"], person=person.title(), **WORDS)
        assert finding.answer == "enrolled", finding


def test_who_was_enrolled_is_named_with_evidence(scene: Scene) -> None:
    enrol(scene, "ada", "bob")
    finding = call(IDENTIFY, scene("ada", light=0.9), image="image_1")
    assert finding.answer == "Ada"
    score = finding.scores[0]
    assert score.name == "similarity" and score.passes
    assert "dlib" in str(score.model) and finding.model and finding.model.digest
    for said in ("false-positive identification rate 1.0%", "2 templates", "Labeled Faces in the Wild"):
        assert said in str(score.threshold_source)
    assert [score.name for score in finding.scores[1:]][:1] == ["attack score"]
    assert finding.regions[0].label == "Ada"
    assert {witness.id for witness in finding.witnesses} >= {"spoof-specialist"}


def test_a_stranger_is_unknown_and_the_gallery_may_be_empty(scene: Scene) -> None:
    empty = call(IDENTIFY, scene("ada"), image="image_1")
    assert empty.state is State.not_possible and "nobody is enrolled" in str(empty.reason)
    enrol(scene, "ada", "bob")
    finding = call(IDENTIFY, scene("stranger"), image="image_1")
    assert finding.answer == "unknown" and "not known" in finding.summary


def test_the_threshold_grows_with_the_gallery(scene: Scene) -> None:
    enrol(scene, "ada")
    small = call(IDENTIFY, scene("ada"), image="image_1").scores[0].threshold
    gallery = gallery_of(scene("ada"))
    draw = np.random.default_rng(0)
    from visagent.gallery.records import NewSample

    for number in range(40):
        value = draw.standard_normal(128)
        gallery.enrol(f"p{number}", [NewSample((value / np.linalg.norm(value)).astype(np.float32), "x")], **WORDS)
    large = call(IDENTIFY, scene("ada"), image="image_1").scores[0].threshold
    assert small is not None and large is not None and large > small + 0.01


def test_a_crowd_gives_one_finding_per_face_and_nobody_twice(scene: Scene) -> None:
    enrol(scene, "ada", "bob")
    finding = call(IDENTIFY, scene(["ada", "stranger", "bob", "bob"]), image="image_1")
    answers = [part.answer for part in finding.parts]
    assert len(answers) == 4 and answers[0] == "Ada" and answers[1] == "unknown"
    assert sorted(answers[2:]) == ["Bob", "unknown"], "one person is in a picture at most once"
    assert finding.answer is not None and finding.answer.startswith("face 1: Ada; face 2: unknown")
    assert len(finding.regions) == 4
    assert Finding.model_validate_json(finding.to_json()) == finding


def test_two_who_are_alike_make_it_unsure(scene: Scene) -> None:
    enrol(scene, "ada", "bob")
    refused = call(ENROL, scene("twin"), images=["image_1"], person="Twin", **WORDS)
    assert refused.state is State.abstained and '"Bob"' in str(refused.reason)
    allowed = call(ENROL, scene("twin"), images=["image_1"], person="Twin", allow_alike=True, **WORDS)
    assert allowed.answer == "enrolled"
    finding = call(IDENTIFY, scene("bob"), image="image_1")
    assert finding.answer == "unsure"
    assert '"Bob"' in finding.summary and '"Twin"' in finding.summary


def test_a_claim_is_held_against_one_person_only(scene: Scene) -> None:
    enrol(scene, "ada", "bob")
    finding = call(IDENTIFY, scene("ada"), image="image_1", person=" ada ")
    assert finding.answer == "Ada"
    assert "false-match rate 0.10% wanted of one claim with 1 templates" in str(finding.scores[0].threshold_source)
    wrong = call(IDENTIFY, scene("ada"), image="image_1", person="Bob")
    assert wrong.answer == "unknown" and "not the person that was named" in wrong.summary
    nobody = call(IDENTIFY, scene("ada"), image="image_1", person="Carol")
    assert nobody.state is State.not_possible and "Nobody of the name Carol" in str(nobody.reason)


@pytest.mark.parametrize(("verdict", "answer"), [("live", "Ada"), ("unsure", "unsure"), ("spoof", None)])
def test_liveness_comes_first(scene: Scene, monkeypatch: pytest.MonkeyPatch, verdict: Any, answer: str | None) -> None:
    enrol(scene, "ada")
    monkeypatch.setattr(identify_tool, "screen", lambda face, context: Screening(verdict, "" if verdict == "live" else
                                                                                  "it looks like a print"))
    finding = call(IDENTIFY, scene("ada"), image="image_1")
    assert finding.answer == answer
    if answer is None:
        assert finding.state is State.abstained
        assert "called a spoof" in str(finding.reason) and "not compared" in str(finding.reason)
        assert not any(score.name == "similarity" for score in finding.scores)
    assert call(IDENTIFY, scene("ada"), image="image_1", require_live=False).answer == "Ada"


def test_a_face_on_a_screen_is_refused_by_the_real_networks(scene: Scene, astronaut: np.ndarray) -> None:
    """A bright frame around the head, as of a phone in front of a dark room: the border network must see it."""
    enrol(scene, "ada")
    head = portrait(astronaut, "ada")
    phone = np.full((420, 380, 3), 12, np.uint8)
    phone[30:390, 30:350] = 235
    phone[40:380, 38:342] = 8
    phone[76:332, 42:342] = head
    finding = call(IDENTIFY, scene(np.pad(phone, ((120, 120), (160, 160), (0, 0)), constant_values=90)),
                   image="image_1")
    assert finding.answer != "Ada"


def test_enrolment_checks_each_picture_and_keeps_the_rest(scene: Scene, astronaut: np.ndarray) -> None:
    blank = np.full((200, 200, 3), 127, np.uint8)
    darker = portrait(astronaut, "ada", light=0.9)
    finding = call(ENROL, scene("ada", blank, ["ada", "ada"], "stranger", darker), person="Ada",
                   images=[f"image_{number}" for number in range(1, 6)], **WORDS)
    assert finding.answer == "enrolled" and "2 samples added, 2 in all" in finding.summary
    for said in ("no face was found in image_2", "2 faces", "image_4 does not look like"):
        assert said in finding.summary
    again = call(ENROL, scene("ada"), images=["image_1"], person="ADA", **WORDS)
    assert "0 samples added, 2 in all" in again.summary and "1 sample had been enrolled before" in again.summary


def test_enrolment_needs_purpose_and_consent(scene: Scene) -> None:
    for words in ({}, {"purpose": "door"}, {"purpose": " ", "consent": "form"}):
        finding = call(ENROL, scene("ada"), images=["image_1"], person="Ada", **words)
        assert finding.state is State.not_possible and "consent" in str(finding.reason)
    assert call(PEOPLE, scene("ada")).answer == "0"


def test_a_poor_picture_is_not_enrolled(scene: Scene, astronaut: np.ndarray) -> None:
    import cv2

    blurred = cv2.GaussianBlur(portrait(astronaut, "ada"), (0, 0), 6)
    for rgb in (blurred, np.zeros((16, 16, 3), np.uint8)):
        finding = call(ENROL, scene(np.ascontiguousarray(rgb)), images=["image_1"], person="Ada", **WORDS)
        assert finding.state is State.abstained and "nothing was enrolled" in str(finding.reason)


def test_a_small_picture_is_kept_only_if_the_person_chooses_so(scene: Scene, astronaut: np.ndarray) -> None:
    enrol(scene, "bob")
    plain = call(ENROL, scene("ada"), images=["image_1"], person="Ada", **WORDS)
    gallery = gallery_of(scene("ada"))
    assert gallery.thumbnail("Ada") is None and not any("picture" in caveat for caveat in plain.caveats)
    blank = np.full((200, 200, 3), 127, np.uint8)
    kept = call(ENROL, scene(blank, "ada"), images=["image_1", "image_2"], person="Ada", keep_thumbnail=True, **WORDS)
    assert kept.answer == "enrolled"
    assert [caveat for caveat in kept.caveats if caveat not in plain.caveats] == [
        "A small picture of the face is kept, encrypted, as long as the templates; visagent gallery drop-thumbnail "
        "removes it alone."]
    jpeg = gallery.thumbnail("Ada")
    assert jpeg is not None and b"Exif" not in jpeg
    with Image.open(BytesIO(jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (160, 160))
        shown = np.asarray(picture.convert("RGB"))
    box = kept.regions[0].box
    assert box is not None
    middle = portrait(astronaut, "ada")[round(box.y1):round(box.y2), round(box.x1):round(box.x2)]
    face = np.asarray(Image.fromarray(middle).resize((100, 100), Image.Resampling.BOX)).astype(float)
    assert np.abs(face - shown[30:130, 30:130]).mean() < 8, "the face fills the view but for a margin of 1.6"
    again = call(ENROL, scene("ada"), images=["image_1"], person="Ada", **WORDS)
    assert any("small picture" in caveat for caveat in again.caveats), "it still is kept"
    assert gallery.thumbnail("Bob") is None
    told = {name: call(PEOPLE, scene("ada"), person=name).summary for name in ("Ada", "Bob")}
    assert told["Ada"].endswith("kept, and a small picture.") and told["Bob"].endswith("kept, and no picture.")
    chosen = [entry["thumbnail"] for entry in gallery.audit.entries() if entry["act"] == "enrol"]
    assert chosen == [False, False, True, False]


def test_a_model_cannot_choose_to_keep_a_picture() -> None:
    assert "keep_thumbnail" not in json.dumps(tool_schema(ENROL))
    proposal = propose(ENROL, {"person": "Ada", "keep_thumbnail": True})
    assert proposal.arguments == {"person": "Ada"}
    assert "small picture" in proposal.open_fields["keep_thumbnail"]


def test_people_are_listed_and_forgotten(scene: Scene) -> None:
    enrol(scene, "ada", "bob")
    listed = call(PEOPLE, scene("ada"))
    assert listed.answer == "2" and '"Ada" (1), "Bob" (1)' in listed.summary
    told = call(PEOPLE, scene("ada"), person="ada")
    assert told.answer == "Ada" and "form 12" in told.summary and "no picture" in told.summary
    gone = call(FORGET, scene("ada"), person="ada")
    assert gone.answer == "forgotten" and '"Ada"' in gone.summary
    assert call(IDENTIFY, scene("ada"), image="image_1").answer == "unknown"
    assert call(FORGET, scene("ada"), person="ada").state is State.not_possible


def test_every_act_leaves_a_receipt_without_names_or_scores(scene: Scene) -> None:
    enrol(scene, "ada")
    call(IDENTIFY, scene("ada"), image="image_1")
    call(PEOPLE, scene("ada"))
    call(FORGET, scene("ada"), person="Ada")
    gallery = gallery_of(scene("ada"))
    entries = list(gallery.audit.entries())
    assert [entry["act"] for entry in entries] == ["enrol", "identify", "people", "forget", "forget"]
    assert entries[1]["decision"] == "known" and entries[1]["person"] == entries[0]["person"]
    assert "Ada" not in json.dumps(entries) and "similarity" not in json.dumps(entries)
    assert gallery.audit.verify() == 5


def test_scores_are_kept_for_drift_unless_told_otherwise(scene: Scene, tmp_path: Path) -> None:
    enrol(scene, "ada", "bob")
    quiet = Settings(gallery=str(tmp_path / "gallery"), keep_scores=False)
    call(IDENTIFY, scene("ada", settings=quiet), image="image_1")
    gallery = gallery_of(scene("ada"))
    assert list(gallery.sightings()) == []
    call(IDENTIFY, scene("ada"), image="image_1")
    call(IDENTIFY, scene("ada"), image="image_1", person="Ada")
    call(IDENTIFY, scene("stranger"), image="image_1")
    call(IDENTIFY, scene("stranger"), image="image_1", person="Ada")  # clearly another: no score of Ada's
    assert [sighting.how for _, sighting in gallery.sightings("Ada")] == ["identified", "claimed"]
    assert list(gallery.sightings("Bob")) == []


def test_a_gallery_of_another_encoder_is_a_clear_answer(scene: Scene, specialists: Models) -> None:
    enrol(scene, "ada")
    context = scene("ada")
    gallery_of(context).close()
    other = TintEncoder()
    other.contract = other.contract.model_copy(update={"model": "another"})

    class Other(Models):
        def get(self, load: Any, *arguments: Any) -> Any:
            if load is open_encoder:
                return other
            return super().get(load, *arguments) if load is open_gallery else specialists.get(load, *arguments)

    finding = call(IDENTIFY, ToolContext(context.pictures, Other(), context.settings), image="image_1")
    assert finding.state is State.not_possible
    assert "another" in str(finding.reason) and "encoder in use" in str(finding.reason)


# Assignment

def total(candidates: list[Any], matches: list[list[Match]], least: float) -> float:
    score = {(face, match.person): match.score for face, found in enumerate(matches) for match in found}
    return sum(score[face, one.person] - least for face, one in enumerate(candidates) if one.person is not None)


def test_assignment_is_optimal_and_gives_nobody_twice() -> None:
    from itertools import permutations

    draw = np.random.default_rng(0)
    for _ in range(60):
        faces, people, least = int(draw.integers(1, 5)), int(draw.integers(1, 6)), 0.5
        scores = draw.random((faces, people))
        matches = [[Match(f"p{person}", float(scores[face, person])) for person in np.argsort(-scores[face])]
                   for face in range(faces)]
        candidates = assign(matches, least)
        given = [one.person for one in candidates if one.person is not None]
        assert len(given) == len(set(given))
        options = [*range(people), *[-1] * faces]
        best = max(sum(max(0.0, scores[face, person] - least) for face, person in enumerate(chosen) if person >= 0)
                   for chosen in permutations(options, faces))
        assert total(candidates, matches, least) == pytest.approx(best, abs=1e-6)


def test_the_closest_face_gets_the_person_and_the_other_is_told() -> None:
    matches = [[Match("ada", 0.97), Match("bob", 0.80)], [Match("ada", 0.99), Match("bob", 0.81)]]
    first, second = assign(matches, 0.9)
    assert (first.person, second.person) == (None, "ada")
    assert first.runner_up == Match("bob", 0.80)
    swapped = assign([[Match("ada", 0.97), Match("bob", 0.96)], [Match("ada", 0.99)]], 0.9)
    assert [one.person for one in swapped] == ["bob", "ada"] and swapped[0].taken == "ada"


def test_verify_says_same_unsure_and_different(scene: Scene) -> None:
    context = scene("ada", "ada", "stranger")
    same = call(VERIFY, context, image_a="image_1", image_b="image_2")
    assert same.answer == "same" and same.scores[0].passes
    assert all(said in str(same.scores[0].threshold_source) for said in ("FMR", "FNMR", "resampling people"))
    other = call(VERIFY, context, image_a="image_1", image_b="image_3")
    assert other.answer == "different" and not other.scores[0].passes
