"""The published protocol on a generated set: readers, preparation and folds, from pictures to numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from visagent.datasets.micro_expression.prepared import (
    PreparedClip,
    load_prepared,
    prepare_clip,
    prepare_set,
    save_prepared,
    short_clips,
    tvl1,
)
from visagent.datasets.micro_expression.record import MicroExpressionClip
from visagent.errors import AnalysisError, PictureError
from visagent.finetune import leave_one_subject_out as module
from visagent.finetune.leave_one_subject_out import Answer, batch_of, errors_of, labelled, measure, run_folds
from visagent.finetune.mol import Recipe

NAMES = ("surprise", "positive", "negative")


def made_up(name: str, subject: str, label: str, seed: int, frames: int = 17) -> PreparedClip:
    rng = np.random.default_rng(seed)
    shorts = frames // 8
    return PreparedClip(name, subject, label, "casme2", rng.integers(0, 255, (frames, 144, 144), np.uint8),
                        rng.uniform(20, 120, (frames, 68, 2)).astype(np.float32),
                        rng.normal(0, 1, (shorts, 7, 2, 144, 144)).astype(np.float16))


def test_short_clips_are_those_of_the_paper() -> None:
    assert short_clips(17).tolist() == [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]
    assert short_clips(7).shape == (0, 8)


def test_tvl1_knows_which_way() -> None:
    y, x = np.mgrid[:64, :64]
    first = (127 + 60 * np.sin(x / 5) + 60 * np.cos(y / 6)).astype(np.uint8)
    right, down = tvl1(first, np.roll(first, (1, 2), (0, 1)))[:, 16:-16, 16:-16]
    assert np.median(right) == pytest.approx(2, abs=0.4) and np.median(down) == pytest.approx(1, abs=0.4)


def test_a_batch_is_cut_with_its_landmarks_and_its_flow() -> None:
    clip = made_up("01_a", "01", "happiness", 0)
    (item,) = labelled([clip], "3")
    windows = batch_of([(item, 1)], np.array([[5, 9]]))
    frames = clip.short_clips[1]
    np.testing.assert_array_equal(windows.clips[0], clip.crops[frames, 9:137, 5:133])
    np.testing.assert_allclose(windows.landmarks[0], clip.landmarks[frames] - [5, 9])
    assert windows.flow is not None
    np.testing.assert_allclose(windows.flow[0], clip.flow[1, ..., 9:137, 5:133])
    assert NAMES[int(windows.emotions[0])] == "positive"
    again = batch_of([(item, 1)], np.array([[5, 9]]))
    np.testing.assert_array_equal(again.landmarks, windows.landmarks)  # nothing is shifted in place


def test_clips_without_a_class_are_left_out() -> None:
    clips = [made_up("01_a", "01", "others", 0), made_up("01_b", "01", "disgust", 1)]
    assert [item.clip.name for item in labelled(clips, "3")] == ["01_b"]
    assert len(labelled(clips, "5")) == 2
    with pytest.raises(AnalysisError, match="3 classes"):
        labelled(clips[:1], "3")


def test_the_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    answers = [Answer(f"v{n}", f"s{n % 5}", int(rng.integers(3)), rng.dirichlet([1] * 3, 4).tolist(),
                      rng.dirichlet([1] * 3, 4).tolist()) for n in range(40)]
    for selected in (False, True):
        rows = [(answer.right, np.array(answer.best if selected else answer.last)) for answer in answers]
        for videos in (False, True):
            truth = [right for right, said in rows for _ in range(1 if videos else 4)]
            said = [int(row.argmax()) for _, each in rows for row in (each.mean(0, keepdims=True) if videos else each)]
            errors = errors_of(answers, NAMES, selected=selected, videos=videos)
            np.testing.assert_array_equal(errors.confusion[:, :3], confusion_matrix(truth, said, labels=[0, 1, 2]))
            assert errors.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
            assert errors.weighted_f1 == pytest.approx(f1_score(truth, said, average="weighted"))
            assert errors.uar == pytest.approx(recall_score(truth, said, average="macro"))
            assert errors.accuracy.value == pytest.approx(accuracy_score(truth, said))
    result = measure(answers, "3", command="c", recipe=Recipe())
    assert result.value("videos: UF1") != result.value("released style, videos: UF1")


@pytest.mark.slow
def test_every_subject_is_held_out_once_and_done_folds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                               ) -> None:
    clips = [made_up(f"{who}_{label}", who, label, seed) for seed, (who, label) in enumerate(
        [("01", "happiness"), ("01", "disgust"), ("02", "surprise"), ("03", "anger")])]
    seen: list[tuple[set[str], set[str]]] = []
    real = module.run_fold

    def watched(train, held, classes, recipe):  # type: ignore[no-untyped-def]
        seen.append(({item.clip.subject for item in train}, {item.clip.subject for item in held}))
        return real(train, held, classes, recipe)

    monkeypatch.setattr(module, "run_fold", watched)
    recipe = Recipe(tasks=("expression", "landmarks"), steps=2, batch=2, precision="fp32")
    answers = run_folds(labelled(clips, "3"), 3, recipe, tmp_path)
    assert [held for _, held in seen] == [{"01"}, {"02"}, {"03"}]
    assert all(not train & held for train, held in seen)
    assert sorted(answer.name for answer in answers) == sorted(clip.name for clip in clips)
    assert all(np.allclose(np.sum(answer.last, 1), 1, atol=1e-4) for answer in answers)
    (tmp_path / "3-classes" / "subject-02.json").unlink()
    again = run_folds(labelled(clips, "3"), 3, recipe, tmp_path)
    assert len(seen) == 4 and seen[-1][1] == {"02"}
    assert json.dumps([answer.last for answer in again]) == json.dumps([answer.last for answer in answers])


def test_prepared_clips_come_back_from_their_files(tmp_path: Path) -> None:
    clip = made_up("01_EP02/01f", "01", "happiness", 0)
    save_prepared(clip, tmp_path)
    (found,) = load_prepared(tmp_path)
    assert (found.name, found.subject, found.label, found.source) == ("01_EP02/01f", "01", "happiness", "casme2")
    for name in ("crops", "landmarks", "flow"):
        np.testing.assert_array_equal(getattr(found, name), getattr(clip, name))
    next(tmp_path.glob("*.npz")).write_bytes(b"broken")
    with pytest.raises(PictureError, match="delete it"):
        load_prepared(tmp_path)
    with pytest.raises(PictureError, match="no prepared clip"):
        load_prepared(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_clip_of_pictures_is_prepared_once(tmp_path: Path) -> None:
    """Nine frames of the public-domain portrait that drifts by a pixel a frame."""
    from PIL import Image

    import visagent

    portrait = Image.open(Path(visagent.__file__).parent / "assets" / "astronaut.jpg").convert("RGB")
    paths = []
    for number in range(9):
        path = tmp_path / f"img{number}.png"
        portrait.crop((100 + number, 20, 356 + number, 276)).save(path)
        paths.append(path)
    clip = MicroExpressionClip(tuple(paths), "01_drift", "01", "happiness", "casme2", 200.0)
    assert prepare_set([clip], tmp_path / "out", workers=1) == []
    (found,) = load_prepared(tmp_path / "out")
    assert found.crops.shape == (9, 144, 144) and found.flow.shape == (1, 7, 2, 144, 144)
    eyes = found.landmarks[:, 36:48].mean(1)
    assert abs(eyes[:, 1].mean() - 52) < 12 and eyes.std(0).max() < 3.5, "smoothing follows so fast a head late"
    (file,) = (tmp_path / "out").glob("*.npz")
    written = file.stat().st_mtime_ns
    assert prepare_set([clip], tmp_path / "out", workers=1) == [] and file.stat().st_mtime_ns == written
    assert prepare_clip(MicroExpressionClip(tuple(paths[:5]), "s", "01", "happiness", "casme2", 200.0)) is None
    Image.new("RGB", (200, 200), "gray").save(tmp_path / "img0.png")
    assert prepare_set([MicroExpressionClip(tuple(paths), "x", "01", "happiness", "casme2", 200.0)], tmp_path / "out",
                       workers=1) == ["x"]
