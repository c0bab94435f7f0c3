"""MOL's losses against numbers worked out by hand, and a run that goes on where it was broken off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visagent.datasets.micro_expression.action_units import MIRRORED
from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.faces import PHOTO_SIDE, AlignedFaces, load_faces, save_faces
from visagent.datasets.micro_expression.windows import Windows
from visagent.errors import PictureError, SettingsError
from visagent.finetune import mol
from visagent.finetune.mol import Recipe, expression_loss, fit, flow_loss, joint_loss, landmark_loss, mirrored_half
from visagent.tools.micro_expression.network import MOLOutput


@pytest.fixture
def faces() -> AlignedFaces:
    rng = np.random.default_rng(0)
    marks = rng.uniform(40, 120, (6, 68, 2)).astype(np.float32)
    marks[:, 36:42, 0] -= 20
    marks[:, 42:48, 0] += 20
    return AlignedFaces(rng.integers(0, 255, (6, PHOTO_SIDE, PHOTO_SIDE), np.uint8), marks, tuple("abcdef"))


def test_the_losses_are_those_of_the_released_code() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    expected = -(np.log(np.exp(2) / (np.exp(2) + 1)) + np.log(1 / (1 + np.e))) / 2
    assert float(expression_loss(logits, torch.tensor([0, 0]))) == pytest.approx(expected)
    flow = torch.zeros(2, 7, 2, 4, 4)
    truth = flow.clone()
    truth[0, 3, 0, 1, 2] = 3.0
    assert float(flow_loss(flow, truth)) == pytest.approx(9 / flow.numel() / 7)
    points = torch.zeros(2, 7, 68, 2)
    points[:, :, 36:42, 0], points[:, :, 42:48, 0] = -10, 15  # the eyes are 25 apart
    found = points.clone()
    found[0, 2, 5] += torch.tensor([3.0, -2.0])
    found[1, 6, 9] += torch.tensor([0.0, 5.0])
    assert float(landmark_loss(found, points)) == pytest.approx((5 / 25 + 5 / 25) / (2 * 68))


def test_the_joint_loss_weighs_the_tasks_of_the_recipe() -> None:
    windows = Windows(torch.zeros(1, 8, 4, 4), torch.tensor([0]), torch.ones(1), torch.zeros(1, 8, 68, 2),
                      torch.zeros(1, 7, 2, 4, 4))
    windows.landmarks[:, :, 36:42, 0] = -10
    output = MOLOutput(torch.tensor([[1.0, 1.0]]), torch.ones(1, 7, 68, 2), torch.ones(1, 7, 2, 4, 4))
    parts = {"expression": float(expression_loss(output.classes, windows.emotions)),
             "flow": 10 * float(flow_loss(output.flow, windows.flow)),  # type: ignore[arg-type]
             "landmarks": float(landmark_loss(output.landmarks, windows.landmarks[:, 1:]))}  # type: ignore[arg-type]
    assert float(joint_loss(output, windows, Recipe())) == pytest.approx(sum(parts.values()), rel=1e-5)
    alone = MOLOutput(output.classes)
    assert float(joint_loss(alone, windows, Recipe(tasks=("expression",)))) == pytest.approx(parts["expression"])


def test_a_mirrored_photo_has_mirrored_landmarks(faces: AlignedFaces) -> None:
    photos, marks = faces.tensors(np.arange(6), torch.device("cpu"))
    turned, points = mirrored_half(photos, marks, Draw.of(0))
    flipped = [not torch.equal(turned[row], photos[row]) for row in range(6)]
    assert 0 < sum(flipped) < 6
    for row, is_flipped in enumerate(flipped):
        if is_flipped:
            assert torch.equal(turned[row], photos[row].flip(1))
            torch.testing.assert_close(points[row, 36, 0], PHOTO_SIDE - 1 - marks[row, MIRRORED[36], 0])
        else:
            assert torch.equal(points[row], marks[row])


def test_movements_shrink_to_their_size() -> None:
    recipe = Recipe(steps=100, easy=0.5)
    assert recipe.larger(0) == 3 and recipe.larger(25) == pytest.approx(3**0.5)
    assert recipe.larger(50) == recipe.larger(99) == 1


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_broken_off(faces: AlignedFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    monkeypatch.setattr(mol, "DEV_WINDOWS", 4)
    recipe = Recipe(tasks=("expression",), steps=3, batch=2, precision="fp32")
    whole = fit(recipe, faces, faces, tmp_path / "whole")
    train, losses = mol.train, 0

    def often(*arguments: object, **settings: object) -> None:
        train(*arguments, **{**settings, "minutes": 0.0})  # type: ignore[arg-type]

    def loses_power(output: MOLOutput, windows: Windows, recipe: Recipe) -> torch.Tensor:
        nonlocal losses
        losses += 1
        if losses == 3:
            raise KeyboardInterrupt
        return joint_loss(output, windows, recipe)

    with monkeypatch.context() as broken:
        broken.setattr(mol, "joint_loss", loses_power)
        broken.setattr(mol, "train", often)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, faces, faces, tmp_path / "broken")
    again = fit(recipe, faces, faces, tmp_path / "broken")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)
    with pytest.raises(SettingsError, match="other settings"):
        fit(recipe.model_copy(update={"rate": 1.0}), faces, faces, tmp_path / "broken")


def test_faces_come_back_from_their_file(faces: AlignedFaces, tmp_path: Path) -> None:
    smooth = AlignedFaces(np.full_like(faces.photos, 90), faces.landmarks, faces.people)
    save_faces({"train": smooth}, tmp_path / "faces.npz")
    found = load_faces(tmp_path / "faces.npz", "train")
    assert found.people == smooth.people and np.abs(found.photos.astype(int) - 90).max() <= 2
    np.testing.assert_array_equal(found.landmarks, smooth.landmarks)
    with pytest.raises(PictureError, match="make it with"):
        load_faces(tmp_path / "faces.npz", "test")
