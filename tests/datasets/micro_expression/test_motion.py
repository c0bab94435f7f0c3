"""The simulated motion: fields where the landmarks say, envelopes, and flow that truly leads from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visagent.datasets.micro_expression.action_units import COMBINATIONS, MIRRORED, PULLS, UNITS, pull_table
from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.motion import (
    envelope,
    fields_of,
    inverse,
    sample,
    shown_points,
    transform,
    true_flow,
    where_seen,
)

SIZE = (128, 128)


def strengths_of(units: dict[int, tuple[float, float]]) -> torch.Tensor:
    strengths = torch.zeros(len(UNITS), 2)
    for unit, sides in units.items():
        strengths[UNITS.index(unit)] = torch.tensor(sides)
    return strengths


def at(field: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    x, y = point.round().long().tolist()
    return field[:, y, x]


@pytest.mark.parametrize(("unit", "mark", "up"), [
    (1, 21, 1), (1, 22, 1), (2, 17, 1), (2, 26, 1), (4, 21, -1), (12, 48, 1), (12, 54, 1), (15, 48, -1), (15, 54, -1),
    (17, 57, 1), (25, 57, -1), (26, 8, -1), (9, 31, 1), (45, 37, -1), (5, 44, 1)])
def test_a_unit_moves_its_marks_up_or_down(face68: torch.Tensor, unit: int, mark: int, up: int) -> None:
    field = fields_of(face68[None], strengths_of({unit: (1.0, 1.0)})[None], SIZE)[0]
    assert -up * float(at(field, face68[mark])[1]) > 0.2
    assert float(field.norm(dim=0).max()) == pytest.approx(1)


def test_corners_of_the_mouth_go_outwards_in_a_smile_and_only_on_the_side_that_smiles(face68: torch.Tensor) -> None:
    both = fields_of(face68[None], strengths_of({12: (1.0, 1.0)})[None], SIZE)[0]
    assert float(at(both, face68[48])[0]) < -0.3 and float(at(both, face68[54])[0]) > 0.3
    left = fields_of(face68[None], strengths_of({12: (1.0, 0.0)})[None], SIZE)[0]
    assert float(at(left, face68[48]).norm()) > 0.8 and float(at(left, face68[54]).norm()) < 0.1


@pytest.mark.parametrize("unit", UNITS)
def test_the_mirrored_face_moves_in_mirror_image(face68: torch.Tensor, unit: int) -> None:
    mirrored = face68[list(MIRRORED)] * torch.tensor([-1.0, 1.0]) + torch.tensor([SIZE[1] - 1.0, 0.0])
    field = fields_of(face68[None], strengths_of({unit: (1.0, 0.4)})[None], SIZE)[0]
    other = fields_of(mirrored[None], strengths_of({unit: (0.4, 1.0)})[None], SIZE)[0]
    torch.testing.assert_close(other, field.flip(2) * torch.tensor([-1.0, 1.0])[:, None, None], rtol=1e-3, atol=1e-4)


def test_the_field_turns_and_grows_with_the_face(face68: torch.Tensor) -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # a quarter with the clock, as y points down
    turned = (face68 - 63.5) @ turn.T + 63.5
    field = fields_of(face68[None], strengths_of({12: (1.0, 1.0)})[None], SIZE)[0]
    other = fields_of(turned[None], strengths_of({12: (1.0, 1.0)})[None], SIZE)[0]
    expected = torch.rot90(torch.einsum("dc,chw->dhw", turn, field), -1, (1, 2))
    torch.testing.assert_close(other, expected, rtol=1e-3, atol=1e-4)


def test_every_unit_that_an_emotion_needs_is_there() -> None:
    assert {unit for ways in COMBINATIONS.values() for way in ways for unit in way} <= set(PULLS)
    assert tuple(sorted(
        {1, 2, 4, 6, 7, 9, 12, 14, 15, 17, 20, 23, 25} & set(PULLS))) == (1, 2, 4, 6, 7, 9, 12, 14, 15, 17, 20, 23, 25)
    table = pull_table()
    np.testing.assert_allclose(table.places.sum(1), 1, rtol=1e-6)
    assert sorted(MIRRORED) == list(range(68)) and all(MIRRORED[MIRRORED[mark]] == mark for mark in range(68))


@settings(max_examples=50, deadline=None)
@given(onset=st.floats(0, 1), rise=st.floats(0.02, 0.3), hold=st.floats(0, 0.2), fall=st.floats(0.02, 0.3))
def test_an_envelope_rises_holds_and_falls(onset: float, rise: float, hold: float, fall: float) -> None:
    times = torch.linspace(0, 2, 401)
    apex, release, offset = onset + rise, onset + rise + hold, onset + rise + hold + fall
    amount = envelope(times, *map(torch.tensor, (onset, apex, release, offset)))
    assert ((amount >= 0) & (amount <= 1)).all()
    assert (amount[(times <= onset) | (times >= offset)] < 1e-5).all()
    assert (amount[(times >= apex) & (times <= release)] > 1 - 1e-5).all()
    assert (amount[times <= apex].diff() >= -1e-6).all() and (amount[times >= release].diff() <= 1e-6).all()


def moving(face68: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Placings and fields of three frames: a blink and a smile beside a head that moves."""
    field = fields_of(face68[None], strengths_of({12: (1.0, 0.5), 45: (0.6, 0.6)})[None], SIZE)[0] * 4
    moved = torch.stack([0 * field, 0.6 * field, field])[None]
    angles = torch.tensor([0.02, 0.05, 0.08])
    linear = torch.stack([torch.stack([angles.cos(), -angles.sin()], 1), torch.stack([angles.sin(), angles.cos()], 1)],
                         1) * torch.tensor([1.0, 1.01, 1.03])[:, None, None]
    placing = torch.cat([linear, torch.tensor([[3.0, 2.0], [4.3, 1.2], [5.5, 0.4]])[:, :, None]], 2)
    return placing[None], moved


def test_a_point_is_seen_where_the_pixel_that_shows_it_lies(face68: torch.Tensor) -> None:
    placing, moved = moving(face68)
    shown = shown_points(placing[0], moved[0])
    seen = where_seen(shown, placing[0], moved[0], rounds=30)
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    torch.testing.assert_close(seen, torch.stack([x, y], -1).expand_as(seen), rtol=0, atol=2e-3)


def test_the_flow_leads_to_the_pixel_that_shows_the_same_point(face68: torch.Tensor) -> None:
    placing, moved = moving(face68)
    flow = true_flow(placing, moved)
    shown = shown_points(placing[0], moved[0])
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    for pair in range(2):
        there = torch.stack([x, y], -1) + flow[0, pair].permute(1, 2, 0)
        inside = ((there >= 1) & (there <= 126)).all(-1)
        found = sample(shown[pair + 1].permute(2, 0, 1)[None], there[None])[0].permute(1, 2, 0)
        torch.testing.assert_close(found[inside], shown[pair][inside], rtol=0, atol=0.02)


def test_inverse_maps_lead_back() -> None:
    draw = Draw.of(0)
    matrices = torch.cat([torch.eye(2) + 0.2 * draw.normal(5, 2, 2), 10 * draw.normal(5, 2, 1)], 2)
    points = 50 * draw.normal(5, 7, 2)
    torch.testing.assert_close(transform(inverse(matrices), transform(matrices, points)), points, rtol=1e-3, atol=1e-3)
