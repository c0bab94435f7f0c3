"""Encoders: the rebuilt network gives dlib's numbers, ONNX files are checked, and workers survive bad pictures."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visagent.errors import ContractMismatch, WeightsError
from visagent.vision.dlib_encoder import MODEL, DlibEncoder
from visagent.vision.embedding import embed_pictures
from visagent.vision.encoder import EmbeddingContract, embed_faces, of_length_one, open_encoder
from visagent.vision.fairness_module import FairEncoder, load_fairness_module, save_fairness_module
from visagent.vision.onnx_encoder import OnnxEncoder
from visagent.weights import locate_dlib_model


@pytest.fixture(scope="module")
def chips(astronaut: np.ndarray) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    face = np.ascontiguousarray(astronaut[30:180, 150:300])
    return [face, np.ascontiguousarray(face[:, ::-1]), draw.integers(0, 256, (150, 150, 3)).astype(np.uint8),
            np.zeros((150, 150, 3), np.uint8)]


def test_the_rebuilt_network_gives_dlibs_own_numbers(chips: Sequence[np.ndarray]) -> None:
    import dlib
    import torch

    from visagent.vision.dlib_resnet import read_dlib_resnet

    path = locate_dlib_model(f"{MODEL}.dat")
    own = dlib.face_recognition_model_v1(str(path))
    expected = np.array([own.compute_face_descriptor(chip) for chip in chips])
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        found = read_dlib_resnet(path)(pixels).numpy()
    assert np.abs(found - expected).max() < 5e-6


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    from visagent.vision.dlib_resnet import read_dlib_resnet

    data = locate_dlib_model(f"{MODEL}.dat").read_bytes()
    for content in (b"", data[:5000], data.replace(b"affine_", b"affinex")):
        (tmp_path / "m.dat").write_bytes(content)
        with pytest.raises(WeightsError, match="layout"):
            read_dlib_resnet(tmp_path / "m.dat")


def test_few_chips_without_torch_give_the_same(chips: Sequence[np.ndarray]) -> None:
    """A fresh process that never loads torch asks dlib itself."""
    file = io.BytesIO()
    np.save(file, np.stack(chips[:2]))
    code = ("import sys, io, numpy as np\nfrom visagent.vision.dlib_encoder import DlibEncoder\n"
            "chips = np.load(io.BytesIO(sys.stdin.buffer.read()))\nfound = DlibEncoder().encode(list(chips))\n"
            "assert 'torch' not in sys.modules\nsys.stdout.buffer.write(found.tobytes())")
    done = subprocess.run([sys.executable, "-c", code], input=file.getvalue(), capture_output=True, check=True)
    alone = np.frombuffer(done.stdout, np.float32).reshape(2, 128)
    import torch  # noqa: F401

    assert np.abs(DlibEncoder().encode(chips[:2]) - alone).max() < 5e-6


def test_embeddings_have_length_one_and_a_batch_changes_nothing(chips: Sequence[np.ndarray]) -> None:
    encoder = DlibEncoder()
    together = encoder.encode(chips)
    assert together.shape == (4, 128) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    for chip, expected in zip(chips, together, strict=True):
        assert np.abs(encoder.encode([chip])[0] - expected).max() < 1e-5
    assert encoder.encode([]).shape == (0, 128)
    assert np.abs(together[0] - together[1]).max() < 1e-5, "a face and its mirror image are embedded alike"


def test_the_contract_pins_what_matters() -> None:
    contract = DlibEncoder().contract
    assert contract.id == DlibEncoder().contract.id
    for change in ({"digest": "0" * 16}, {"alignment": "other"}, {"preprocessing": "other"}, {"dimension": 512}):
        assert contract.model_copy(update=change).id != contract.id


# ONNX

Make = Callable[..., Path]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Make:
    """A small network of the ArcFace interface; `mix` makes it mix the faces of a batch."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def make(name: str = "arc.onnx", *, side: int = 112, mix: bool = False, outputs: int = 16) -> Path:
        draw = np.random.default_rng(1)
        weights = numpy_helper.from_array(draw.standard_normal((3 * 14 * 14, outputs)).astype(np.float32), "w")
        nodes = [helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
                 helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["m"])]
        if mix:
            nodes.append(helper.make_node("ReduceMean", ["m"], ["mean"], axes=[0], keepdims=1))
            nodes.append(helper.make_node("Sub", ["m", "mean"], ["y"]))
        else:
            nodes.append(helper.make_node("Identity", ["m"], ["y"]))
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make


def test_an_onnx_file_is_an_encoder(onnx_file: Make) -> None:
    path = onnx_file()
    encoder = open_encoder(path)
    draw = np.random.default_rng(0)
    chips = [draw.integers(0, 256, (112, 112, 3)).astype(np.uint8) for _ in range(40)]
    found = encoder.encode(chips)
    assert found.shape == (40, 16)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(40), abs=1e-5)
    assert encoder.contract.dimension == 16 and encoder.template.size == 112
    path.with_suffix(".json").write_text(json.dumps({"channels": "BGR", "mean": 0, "scale": 1, "mirror": False}))
    other = OnnxEncoder(path)
    assert other.contract.id != encoder.contract.id, "another preprocessing is another contract"
    plain = of_length_one(other._run([chip[..., ::-1][..., ::-1] for chip in chips[:3]]))
    assert np.abs(other.encode(chips[:3]) - plain).max() < 1e-6


def test_onnx_files_that_are_no_encoder_are_refused(onnx_file: Make, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.onnx", "no .onnx file"), (onnx_file("a.onnx", mix=True), "second face"),
                        (onnx_file("b.onnx", side=64), "112 x 112|damaged")):
        with pytest.raises(WeightsError, match=words):
            OnnxEncoder(path)
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match="damaged"):
        OnnxEncoder(tmp_path / "bad.onnx")
    good = onnx_file("c.onnx")
    good.with_suffix(".json").write_text('{"means": 3}')
    with pytest.raises(WeightsError, match=r"\.json beside"):
        OnnxEncoder(good)


def test_an_onnx_file_cannot_pull_in_other_files(onnx_file: Make, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """External data would be read from wherever the file says; handed over as bytes it has no folder to read from."""
    import onnx

    model = onnx.load(onnx_file())
    onnx.external_data_helper.convert_model_to_external_data(model, location="secret.bin", size_threshold=0)
    onnx.save(model, tmp_path / "outside.onnx")
    monkeypatch.chdir("/")
    with pytest.raises(WeightsError, match="refers to other files"):
        OnnxEncoder(tmp_path / "outside.onnx")


# The fairness module behind an encoder

def test_a_fairness_module_has_a_contract_of_its_own(tmp_path: Path, chips: Sequence[np.ndarray]) -> None:
    encoder, draw = DlibEncoder(), np.random.default_rng(0)
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "first": draw.standard_normal((32, 128)), "first_bias": draw.standard_normal(32),
        "second": draw.standard_normal((128, 32)) / 50, "second_bias": np.zeros(128)}
    module = save_fairness_module(tmp_path / "fair", tensors, encoder.contract, {})
    fair = open_encoder(None, tmp_path / "fair")
    assert isinstance(fair, FairEncoder)
    assert fair.contract.id not in (encoder.contract.id, "")
    embeddings = encoder.encode(chips)
    hidden = np.maximum(embeddings @ tensors["first"].T + tensors["first_bias"], 0)
    expected = of_length_one(embeddings + hidden @ tensors["second"].T)
    assert np.abs(fair.encode(chips) - expected).max() < 1e-5
    other = EmbeddingContract(model="x", digest="0" * 16, dimension=128, alignment="a", preprocessing="p")
    with pytest.raises(ContractMismatch, match="trained for"):
        FairEncoder(encoder, save_fairness_module(tmp_path / "other", tensors, other, {}))
    (tmp_path / "fair" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged"):
        load_fairness_module(tmp_path / "fair")
    assert module.digest


# Many pictures in workers

def png(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
def test_one_picture_never_blocks_another(astronaut: np.ndarray) -> None:
    """Unreadable bytes and no face: the others are found all the same, in their order."""
    good, blank = png(astronaut[::2, ::2]), png(np.full((100, 120, 3), 120, np.uint8))
    sources = [good, b"no picture", blank, good, b"", good[:500], good]
    found = list(embed_pictures(sources, workers=2))
    assert [one.index for one in found] == list(range(len(sources)))
    for place, words in ((1, "no JPEG"), (4, "no JPEG"), (5, "truncated")):
        assert words in str(found[place].problem)
    assert found[2].problem is None and found[2].faces == (), "no face is no problem"
    seen = [one for one in found if one.faces]
    assert len(seen) == 3
    assert all(np.array_equal(one.faces[0].embedding, seen[0].faces[0].embedding) for one in seen)


@pytest.mark.slow
def test_a_picture_that_takes_too_long_is_given_up(astronaut: np.ndarray) -> None:
    noise = png(np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8))
    slow, quick = embed_pictures([noise, png(astronaut[::2, ::2])], workers=1, patience=1.2)
    assert "too long" in str(slow.problem)
    assert len(quick.faces) == 1


@pytest.mark.slow
def test_workers_give_what_one_process_gives(astronaut: np.ndarray, specialists: Any) -> None:
    from visagent.vision.detect import detect_faces, load_face_detector

    (found,) = embed_pictures([png(astronaut)], workers=1)
    faces = detect_faces(astronaut, specialists.get(load_face_detector))
    assert np.abs(found.faces[0].embedding - embed_faces(astronaut, faces, DlibEncoder())[0]).max() < 1e-5
    assert len(found.digest) == 64
