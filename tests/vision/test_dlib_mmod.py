"""The rebuilt convolutional detector finds what dlib's own finds, without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visagent.errors import WeightsError
from visagent.vision.crop import resize
from visagent.vision.detect import _hog, load_face_detector
from visagent.vision.dlib_mmod import DlibMmod, find_windows, read_dlib_mmod
from visagent.weights import locate_dlib_model


@pytest.fixture(scope="module")
def path() -> Path:
    return locate_dlib_model("mmod_human_face_detector.dat")


@pytest.fixture(scope="module")
def network(path: Path) -> DlibMmod:
    return read_dlib_mmod(path)


def test_its_surest_window_is_dlibs_find(astronaut: np.ndarray, path: Path, network: DlibMmod) -> None:
    import dlib

    own = dlib.cnn_face_detection_model_v1(str(path))
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    pictures = [astronaut, mirrored, resize(astronaut, 360, 360), resize(astronaut[:250, 100:350], 180, 180),
                np.ascontiguousarray(astronaut[:300])]
    for picture in pictures:
        (find,) = own(picture, 0)
        windows = find_windows(picture, network)
        x1, y1, x2, y2, margin = windows[0]
        assert margin == pytest.approx(find.confidence, abs=0.05)
        assert margin == max(window[4] for window in windows)
        expected = find.rect.left(), find.rect.top(), find.rect.right() + 1, find.rect.bottom() + 1
        assert (x1, y1, x2, y2) == pytest.approx(expected, abs=0.15 * (expected[2] - expected[0]))
        fine = find_windows(picture, network, fine=True)
        assert len(fine) > 2 * len(windows) and set(windows) <= set(fine)


def test_its_margins_are_those_of_pytorchs_convolutions(network: DlibMmod) -> None:
    import torch

    picture = np.random.default_rng(0).uniform(0, 255, (97, 131, 3)).astype(np.float32)
    x = torch.from_numpy((picture - [122.782, 117.001, 104.298]) / 256).permute(2, 0, 1)[None].double()
    for layer in network.layers:
        weights = layer.weights.reshape(layer.side, layer.side, x.shape[1], -1).transpose(3, 2, 0, 1)
        padding = layer.side // 2 if layer.stride == 1 else 0
        x = torch.nn.functional.conv2d(x, torch.from_numpy(weights).double(), torch.from_numpy(layer.bias).double(),
                                       layer.stride, padding)
        x = x if layer is network.layers[-1] else x.relu()
    assert np.abs(network(picture) - x[0, 0].numpy()).max() < 1e-5


def test_there_are_no_windows_where_there_is_no_face(network: DlibMmod) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 150, 3)).astype(np.uint8)
    for picture in (noise, np.zeros((90, 90, 3), np.uint8), np.zeros((20, 300, 3), np.uint8),
                    np.full((1, 100, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)):
        assert find_windows(picture, network) == []


def test_a_file_of_another_layout_is_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for content in (b"", data[:5000], data[:720_000], data.replace(b"bn_con2", b"bn_con1")):
        (tmp_path / "m.dat").write_bytes(content)
        with pytest.raises(WeightsError, match="layout"):
            read_dlib_mmod(tmp_path / "m.dat")


def test_a_gray_picture_is_searched_in_one_channel_with_the_same_finds(astronaut: np.ndarray) -> None:
    """dlib rounds a single channel otherwise when it halves it, so scores differ a little."""
    detector = load_face_detector()
    gray = np.repeat(astronaut.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    finds = _hog(gray, detector, 1)
    boxes, scores, _ = detector.hog.run(gray, 1)
    assert len(finds) == len(boxes) > 0
    assert [find.score for find in finds] == pytest.approx(list(scores), abs=0.06)
    assert [(find.x1, find.y1) for find in finds] == [(box.left(), box.top()) for box in boxes]


def test_looking_for_a_doubtful_face_does_not_load_pytorch() -> None:
    script = ("import sys, numpy as np\n"
              "from skimage.data import astronaut\n"
              "from visagent.vision.detect import detect_faces, load_face_detector\n"
              "assert detect_faces(astronaut()[75:180, 175:275].copy(), load_face_detector())\n"
              "assert 'torch' not in sys.modules and 'visagent.vision.dlib_mmod' in sys.modules\n")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
