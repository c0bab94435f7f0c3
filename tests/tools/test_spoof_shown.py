"""What a person is shown of a screening: the very pixels that were judged, and masks that mark what matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from visagent.datasets import attacks, camera
from visagent.datasets.attacks import layered
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.demo import demo_photo
from visagent.evaluation.faithfulness import SQUARE, cover, most_marked
from visagent.evidence import Artifact, ArtifactKind, Finding
from visagent.media import picture_from_array
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models
from visagent.tools.spoof import tool as spoof_tool
from visagent.tools.spoof.network import Output
from visagent.tools.spoof.specialist import NAME, Opinion, Specialist, load_specialist, read_specialist
from visagent.tools.spoof.surroundings import Surroundings, judge, load_surroundings, wide_view
from visagent.tools.spoof.tool import SPOOF
from visagent.tools.spoof.view import as_screened
from visagent.vision.crop import VIEW_SIDE, cut_out, resize, take_view
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.weights import WEIGHTS

Through = Callable[..., ToolContext]
LIVE, SPOOFED = "Live. It looks natural.", "Spoof: print attack. I see dots."
needs_weights = pytest.mark.skipif(all(row.name != NAME for row in WEIGHTS), reason="the weights are not shipped yet")


def ask(context: ToolContext, image: str = "image_1", face: int | None = None) -> Finding:
    return SPOOF.call({"image": image, "face": face}, replace(context, draws=True))


def kinds(finding: Finding) -> list[ArtifactKind]:
    return [artifact.kind for artifact in finding.artifacts]


def of_kind(finding: Finding, kind: ArtifactKind) -> list[Artifact]:
    return [artifact for artifact in finding.artifacts if artifact.kind is kind]


def test_the_judged_view_is_shown_to_the_pixel_beside_its_place(
        install: Callable[..., Path], through: Through, witness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(spoof=False)
    judged: list[NDArray[np.uint8]] = []
    look = Specialist.look

    def watched(self: Specialist, view: NDArray[np.uint8]) -> Opinion:
        judged.append(view)
        return look(self, view)

    monkeypatch.setattr(Specialist, "look", watched)
    model = witness(says=LIVE)
    context = through(model)
    finding = ask(context)
    (artifact,) = finding.artifacts
    shown = context.pictures.artifact(artifact.handle)
    assert artifact.kind is ArtifactKind.comparison and artifact.image == "image_1" and artifact.box is not None
    assert np.array_equal(shown, judged[0]) and np.array_equal(shown, model.seen[0])
    before = cut_out(context.pictures.pixels("image_1"), artifact.box)
    assert np.abs(resize(before, VIEW_SIDE, VIEW_SIDE).astype(int) - shown).mean() < 6, "the same place"
    face = finding.regions[0].box
    assert artifact.box.x1 < face.x1 < face.x2 < artifact.box.x2 and artifact.box.y1 < face.y1 < artifact.box.y2


@pytest.mark.parametrize(("says", "given"), [
    (LIVE, "what spoof-specialist and witness were given"),
    (None, "what spoof-specialist was given"),  # it failed: whether it saw the picture nobody knows
])
def test_it_is_said_who_was_given_the_view(install: Callable[..., Path], through: Through, witness: Any,
                                           says: str | None, given: str) -> None:
    install(spoof=False)
    (artifact,) = ask(through(witness(says=says))).artifacts
    assert f"After: {given}, 192 x 192 pixels" in artifact.description
    (artifact,) = ask(through()).artifacts
    assert "After: what spoof-specialist was given, 192 x 192 pixels" in artifact.description


def test_a_face_among_several_is_named(install: Callable[..., Path], through: Through) -> None:
    install(spoof=False)
    (artifact,) = ask(through(), "image_2", face=2).artifacts
    assert "Before: face 2 of 2 in image_2." in artifact.description


def test_a_picture_that_lies_on_its_side_is_shown_as_it_lies(install: Callable[..., Path], through: Through,
                                                            astronaut: np.ndarray) -> None:
    install(spoof=True)
    context = through()
    image = context.pictures.add(picture_from_array(np.ascontiguousarray(np.rot90(astronaut))))
    finding = ask(context, image)
    comparison, mask = finding.artifacts
    assert comparison.box is not None and comparison.box == mask.box
    before = cut_out(context.pictures.pixels(image), comparison.box)
    shown = context.pictures.artifact(comparison.handle)
    assert np.abs(resize(before, VIEW_SIDE, VIEW_SIDE).astype(int) - shown).mean() < 6
    assert "192 x 192 pixels, turned upright, that" in comparison.description


class _MarksTheLeft(torch.nn.Module):
    """Calls everything a spoof, and marks the left edge of the view and of its mirror image alike, weakly."""

    def __init__(self, vocabulary: object) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, views: torch.Tensor) -> Output:
        mask = torch.full((len(views), 12, 12), -9.0)
        mask[0::2, 2, :3] = mask[1::2, 2, -3:] = 1.5
        return Output(torch.tensor([[0.0, 1.0, 2.0]]).repeat(len(views), 1), torch.zeros(len(views), 2), mask, views)


@pytest.mark.parametrize("turned", [False, True])
def test_the_mask_is_the_specialists_own_and_lies_as_the_picture_does(
        install: Callable[..., Path], through: Through, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch,
        turned: bool) -> None:
    specialist = read_specialist(install(spoof=True))
    marking = replace(specialist, network=_MarksTheLeft(specialist.network.vocabulary))  # type: ignore[arg-type]
    monkeypatch.setattr(spoof_tool, "load_specialist", lambda: marking)
    context = through()
    image = "image_1"
    if turned:
        image = context.pictures.add(picture_from_array(np.ascontiguousarray(np.rot90(astronaut, -1))))
    finding = ask(context, image)
    (mask,) = of_kind(finding, ArtifactKind.mask)
    cells = context.pictures.artifact(mask.handle)
    marked = np.zeros((12, 12), bool)
    marked[2, :3] = True
    assert cells.shape == (12, 12, 3) and (cells == cells[..., :1]).all()
    strength = 255 / (1 + math.exp(-1.5))
    assert cells[np.rot90(marked, -1) if turned else marked].tolist() == [[round(strength)] * 3] * 3
    assert cells[~(np.rot90(marked, -1) if turned else marked)].max() == 0
    assert "Where spoof-specialist marks the attack" in mask.description and mask.image == image


def test_who_sees_no_attack_marks_none(install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=False, attacked=True)
    assert kinds(ask(through(witness(says=SPOOFED)))) == [ArtifactKind.comparison]
    install(spoof=True)
    assert kinds(ask(through(witness(says=LIVE)))) == [ArtifactKind.comparison, ArtifactKind.mask]


@pytest.mark.parametrize("border", ["none", "likely", "certain"])
def test_what_a_border_encloses_is_marked_where_there_is_one(install: Callable[..., Path], through: Through,
                                                             border: str) -> None:
    install(spoof=False, border=border)
    context = through()
    finding = ask(context)
    if border == "none":
        assert kinds(finding) == [ArtifactKind.comparison]
        return
    _, around, enclosed = finding.artifacts
    assert (around.kind, enclosed.kind) == (ArtifactKind.comparison, ArtifactKind.mask)
    assert "spoof-surroundings was given, 96 x 96 pixels" in around.description
    assert "enclosed by a screen" in enclosed.description
    assert context.pictures.artifact(around.handle).shape == (96, 96, 3)
    assert context.pictures.artifact(enclosed.handle).shape == (12, 12, 3)
    assert around.box == enclosed.box


# What the shipped networks mark

@pytest.fixture(scope="module")
def attacked_views(astronaut: np.ndarray) -> list[NDArray[np.uint8]]:
    """The portrait attacked in all ways that the layered renderer knows, three times each."""
    (face,) = detect_faces(astronaut, load_face_detector())
    view = take_view(astronaut, face.box)
    scene = attacks.scene_of(view.rgb)
    points = ((face.landmarks68 - [view.left, view.top]) * SCENE_SIDE / view.side).astype(np.float32)
    other, others = np.ascontiguousarray(scene[:, ::-1]), (points * [-1, 1] + [SCENE_SIDE, 0]).astype(np.float32)

    def make() -> Iterator[NDArray[np.uint8]]:
        for kind in layered.LAYERED_TYPES:
            for seed in range(3):
                rng = np.random.default_rng(seed)
                shown = layered.present_attack(kind, scene, points, other, others, rng)
                yield as_screened(camera.take(shown.scene, rng, size=VIEW_SIDE, box=shown.box).rgb)
    return list(make())


@needs_weights
@pytest.mark.weights
@pytest.mark.slow
def test_covering_what_the_specialist_marks_costs_more_than_covering_any_square(
        attacked_views: list[NDArray[np.uint8]]) -> None:
    specialist = load_specialist()
    rng = np.random.default_rng(0)
    marked, anywhere = [], []
    for view in attacked_views:
        opinion = specialist.look(view)
        if not opinion.is_spoof:
            continue
        lost = [log_odds(opinion.score) - log_odds(specialist.look(cover_square(view, square)).score)
                for square in (most_marked(opinion.attacked), *rng.integers(0, 13 - SQUARE, (6, 2)).tolist())]
        marked.append(lost[0])
        anywhere.append(float(np.mean(lost[1:])))
    assert len(marked) >= 12
    assert np.mean(marked) > 1.5 * np.mean(anywhere) > 0
    assert (np.array(marked) > np.array(anywhere)).mean() > 0.75


@needs_weights
@pytest.mark.weights
@pytest.mark.slow
def test_covering_what_is_marked_as_enclosed_costs_more_too() -> None:
    """On the bundled attack; its phone encloses the face."""
    picture, surroundings = demo_photo("astronaut-replay.jpg"), load_surroundings()
    (face,) = detect_faces(picture.rgb, load_face_detector())
    view = wide_view(picture.rgb, face.box, face.turns).rgb
    score, _, mask = judge(surroundings.network, view)
    rng = np.random.default_rng(0)
    squares = [most_marked(mask), *rng.integers(0, 13 - SQUARE, (20, 2)).tolist()]
    lost = [score - judge(surroundings.network, cover_square(view, square))[0] for square in squares]
    assert lost[0] > 2 * np.mean(lost[1:])


@needs_weights
@pytest.mark.weights
@pytest.mark.slow
def test_the_bundled_attack_is_marked_on_the_phone(specialists: Models, through: Through) -> None:
    context = through()
    image = context.pictures.add(demo_photo("astronaut-replay.jpg"))
    finding = ask(context, image)
    (mask,) = of_kind(finding, ArtifactKind.mask)
    assert isinstance(context.models.get(load_surroundings), Surroundings) and mask.box is not None
    cells = context.pictures.artifact(mask.handle)[..., 0].astype(np.float32)
    side = round(mask.box.x2 - mask.box.x1)
    heat = cv2.resize(cells, (side, side))
    rows, columns = np.nonzero(heat > 200)
    left, top = mask.box.rounded()[:2]
    assert 130 < columns.min() + left < columns.max() + left < 520, "between the phone's edges"
    assert 60 < rows.min() + top < rows.max() + top < 570


def cover_square(view: NDArray[np.uint8], square: tuple[int, int]) -> NDArray[np.uint8]:
    """The view without a square of cells."""
    cell = view.shape[0] / 12
    x, y = square[0] * cell, square[1] * cell
    return cover(view, (x, y, x + SQUARE * cell, y + SQUARE * cell))


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
