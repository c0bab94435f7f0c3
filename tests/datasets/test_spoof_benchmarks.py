"""Readers of licensed anti-spoofing sets, on made folders of the released layouts."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.spoof_benchmarks import (
    LayoutError,
    SpoofPicture,
    celeba_spoof,
    load_rgb,
    oulu_npu,
    padisi,
    read_celeba_spoof,
    read_folder,
    read_oulu_npu,
    read_padisi,
    read_siw_mv2,
    read_wmca,
    siw_mv2,
    wmca,
)
from visagent.datasets.spoof_benchmarks.record import even_frames
from visagent.errors import DamagedPicture, PictureError, VisagentError

LENGTH = 30
STEP = 8


def make_clip(path: Path, *, length: int = LENGTH, codec: str = "MJPG") -> Path:
    """A clip whose frame n is gray with value 8 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    for number in range(length):
        writer.write(np.full((48, 64, 3), number * STEP, np.uint8))
    writer.release()
    return path


def make_still(path: Path, *, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)
    return path


def make_text(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def facts(pictures: Sequence[SpoofPicture]) -> set[tuple[str, str | None, str, str]]:
    return {(picture.path.stem, picture.attack, picture.subject, picture.split) for picture in pictures}


# --- records and pixels


@given(st.integers(1, 3000), st.integers(1, 5))
def test_frames_are_spread_evenly_over_a_clip(length: int, count: int) -> None:
    frames = even_frames(length, count)
    assert len(frames) == min(count, length) and frames == sorted(set(frames))
    # One of each of `count` equal stretches, and as far from both ends.
    assert all(number * length // len(frames) <= frame < (number + 1) * length / len(frames)
               for number, frame in enumerate(frames))
    assert abs(frames[0] - (length - 1 - frames[-1])) <= 1


@pytest.mark.parametrize("count", [0, 6])
def test_a_clip_gives_one_to_five_frames(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 5"):
        even_frames(30, count)


def test_an_attack_type_is_one_of_the_eleven() -> None:
    with pytest.raises(ValueError, match="hologram"):
        SpoofPicture(Path("a.png"), None, "hologram", "1", "test", "own")


@pytest.mark.parametrize(("ending", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_the_frame_that_is_named_is_the_frame_that_is_read(ending: str, codec: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"a{ending}", codec=codec)
    for frame in (0, 3, 9, 17, 29):
        rgb = load_rgb(SpoofPicture(clip, frame, None, "1", "test", "own"))
        assert rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8
        assert abs(float(rgb.mean()) - frame * STEP) < STEP / 2


def test_colours_are_red_green_blue_in_clips_and_stills(tmp_path: Path) -> None:
    still = make_still(tmp_path / "a.png")
    clip = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    writer.write(np.full((48, 64, 3), (50, 100, 200), np.uint8))  # OpenCV takes blue first
    writer.release()
    for path, frame in ((still, None), (clip, 0)):
        rgb = load_rgb(SpoofPicture(path, frame, None, "1", "test", "own"))
        assert rgb.mean((0, 1)) == pytest.approx((200, 100, 50), abs=4)


def test_a_frame_that_is_not_there_and_a_broken_clip_are_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "short.avi", length=3)
    with pytest.raises(DamagedPicture, match=r"Frame 99 of 'short.avi'"):
        load_rgb(SpoofPicture(clip, 99, None, "1", "test", "own"))
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"RIFF")
    make_text(tmp_path / "t.csv", ["picture,label,subject,split", "broken.avi,live,a,test"])
    with pytest.raises(DamagedPicture, match="no frame"):
        read_folder(tmp_path, tmp_path / "t.csv")


# --- WMCA


def hdf5_clip(path: Path) -> None:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number in range(12):  # as text, Frame_10 comes before Frame_2
            planes = np.zeros((3, 128, 128), np.uint8)
            planes[0], planes[2] = number * STEP, 7
            file[f"Frame_{number}/array"] = planes


WMCA_FILES = {"005_03_005_0_00": (None, "train"), "007_01_007_0_01": (None, "dev"), "100_03_015_2_10":
              ("paper mask", "train"), "505_01_000_2_06": ("fakehead", "eval"), "514_01_035_1_05": ("glasses", "eval"),
              "102_01_001_2_75": ("flexible mask", "eval"), "103_01_001_1_02": ("rigid mask", "dev"),
              "104_01_001_3_05": ("replay", "train"), "104_02_001_3_06": ("print", "train"),
              "105_01_001_4_02": ("replay", "eval"), "106_01_001_5_100": ("makeup", "eval")}


def wmca_folder(root: Path, make: Callable[[Path], object]) -> Path:
    lines = ["path,label,group"]
    for name, (attack, group) in {**WMCA_FILES, "008_01_008_1_09": ("wig", "train")}.items():
        make(root / "preprocessed-face-station_RGB" / "12.02.18" / f"{name}.hdf5")
        lines.append(f"face-station/12.02.18/{name},{int(attack is not None)},{group}")
    make_text(root / "documentation" / "PROTOCOL-grandtest.csv", lines)
    return root


def test_wmca_labels_come_from_the_names_and_wigs_are_left_out(tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wmca, "sampled_frames", lambda path, count: list(range(count)))
    root = wmca_folder(tmp_path, lambda path: make_text(path, ["no HDF5, and not opened"]))
    pictures = read_wmca(root, frames=2)
    to_split = {"train": "train", "dev": "dev", "eval": "test"}
    assert facts(pictures) == {(name, attack, name[:3], to_split[group])
                               for name, (attack, group) in WMCA_FILES.items()}
    assert [picture.frame for picture in pictures[:2]] == [0, 1] and len(pictures) == 2 * len(WMCA_FILES)


def test_wmca_frames_are_colour_first_arrays_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    pictures = read_wmca(wmca_folder(tmp_path, hdf5_clip), frames=3)
    assert [picture.frame for picture in pictures[:3]] == [2, 6, 10]
    rgb = load_rgb(pictures[2])
    assert rgb.shape == (128, 128, 3) and rgb[0, 0].tolist() == [10 * STEP, 0, 7]


def test_without_h5py_wmca_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(LayoutError, match="install h5py"):
        read_wmca(wmca_folder(tmp_path, lambda path: make_text(path, ["x"])))


@pytest.mark.parametrize(("name", "expected"), [
    ("portrait", "named <client>"), ("001_01_001_6_01", "type 6"), ("001_01_001_2_50", "instrument 50")])
def test_wmca_names_that_mean_nothing_are_refused(name: str, expected: str) -> None:
    with pytest.raises(LayoutError, match=expected):
        wmca.label_of(name)


def test_wmca_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"expected a file 'PROTOCOL-grandtest.csv', but .* is empty"):
        read_wmca(tmp_path)
    make_text(tmp_path / "PROTOCOL-grandtest.csv", ["12.02.18/005_03_005_0_00,0,train"])
    with pytest.raises(LayoutError, match=r"expected 'preprocessed-face-station_RGB'.*holds PROTOCOL-grandtest.csv"):
        read_wmca(tmp_path)
    (tmp_path / "preprocessed-face-station_RGB").mkdir()
    with pytest.raises(LayoutError, match=r"12.02.18/005_03_005_0_00.hdf5"):
        read_wmca(tmp_path)
    make_text(tmp_path / "PROTOCOL-grandtest.csv", ["path,label,group", "12.02.18/005_03_005_0_00,0,holdout"])
    with pytest.raises(LayoutError, match="line 2: 'holdout' is no known group; known are train, dev, eval"):
        read_wmca(tmp_path)


# --- SiW-Mv2

SIW_TRAIN = {"Live_1": None, "Makeup_Co_1": "makeup", "Mask_Mann_2": "fakehead", "Mask_Silicone_1": "flexible mask",
             "Partial_Eye_4": "partial eye", "Paper_7": "print", "Mask_Half_1": "rigid mask"}
SIW_TEST = {"Live_2": None, "Replay_3": "replay", "Partial_Funnyeye_1": "glasses", "Partial_Mouth_9": "partial mouth",
            "Mask_Paper_1": "paper mask", "Mask_Trans_5": "rigid mask"}


@pytest.fixture(scope="module")
def siw_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("siw")
    for name in (*SIW_TRAIN, *SIW_TEST):
        folder = "Live" if name.startswith("Live") else f"Spoof/{name.rpartition('_')[0]}"
        make_clip(root / folder / f"{name}.avi")
    for split, names in (("train", SIW_TRAIN), ("test", SIW_TEST)):
        live, spoof = ([name for name in names if name.startswith("Live") is is_live] for is_live in (True, False))
        make_text(root / "pro_3_text" / f"{split}list_live.txt", [*live, *live])  # repeated, as published
        make_text(root / "pro_3_text" / f"{split}list_all.txt", spoof)
    return root


def test_siw_mv2_maps_every_kind_and_takes_a_clip_for_a_subject(siw_root: Path) -> None:
    pictures = read_siw_mv2(siw_root, frames=1)
    assert facts(pictures) == {*((name, attack, name, "train") for name, attack in SIW_TRAIN.items()),
                               *((name, attack, name, "test") for name, attack in SIW_TEST.items())}
    assert len(pictures) == len(SIW_TRAIN) + len(SIW_TEST) and {picture.frame for picture in pictures} == {15}
    assert [picture.frame for picture in read_siw_mv2(siw_root)[:5]] == [3, 9, 15, 21, 27]


def test_siw_mv2_leaves_out_a_few_listed_clips_that_the_release_lacks(siw_root: Path, tmp_path: Path,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
    for name in ("Live", "Spoof"):
        (tmp_path / name).symlink_to(siw_root / name)
    for path in (siw_root / "pro_3_text").iterdir():
        make_text(tmp_path / path.name, path.read_text().split())
    with (tmp_path / "testlist_all.txt").open("a") as file:
        file.write("Replay_99\n")
    with pytest.raises(LayoutError, match=r"1 of the 14 listed clips .*'Replay_99'"):
        read_siw_mv2(tmp_path)
    assert siw_mv2.MOST_MISSING == 0.05
    for number in range(100, 110):
        make_clip(tmp_path / "Live" / f"Live_{number}.avi", length=2)
    try:
        with (tmp_path / "trainlist_live.txt").open("a") as file:
            file.writelines(f"Live_{number}\n" for number in range(100, 110))
        assert "Replay_99" not in {picture.subject for picture in read_siw_mv2(tmp_path, frames=1)}
        assert "1 listed clips are not in the release" in caplog.text
    finally:
        for number in range(100, 110):
            (tmp_path / "Live" / f"Live_{number}.avi").unlink()


def test_siw_mv2_refuses_another_layout(siw_root: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"'trainlist_live.txt', but .*holds Live/, Spoof/"):
        (tmp_path / "Live").mkdir()
        (tmp_path / "Spoof").mkdir()
        read_siw_mv2(tmp_path)
    with pytest.raises(LayoutError, match="known are Live, Makeup_Co"):
        siw_mv2.label_of("Hologram_1")
    for path in (siw_root / "pro_3_text").iterdir():
        make_text(tmp_path / path.name, ["Live_1", "Live_2"])
    with pytest.raises(LayoutError, match="'Live_1' is in a train list and in a test list"):
        read_siw_mv2(tmp_path)


# --- PADISI-Face

PADISI_ROWS = [("t1", "a", "SMILE", "m00000", "p1", "train"), ("t2", "b", "NEUTRAL", "m50102", "p1", "train"),
               ("t3", "c", "NEUTRAL", "m50201", "p2", "valid"), ("t4", "d", "NEUTRAL", "m50901", "p3", "test"),
               ("t5", "e", "NEUTRAL", "m50701", "p3", "test"), ("t6", "f", "NEUTRAL", "m50105", "p3", "test"),
               ("t7", "g", "NEUTRAL", "m50601", "p4", "test")]


@pytest.fixture
def padisi_root(tmp_path: Path) -> Path:
    tables = tmp_path / "data" / "face_partitions"
    make_text(tables / "padisi_USC_FACE_ground_truth.csv", [
        "transaction_id,trial_id,trial_name,modality,ground_truth,participant_id,gender",
        *(f"{t},{i},{n},FACE,{code},{person},Female" for t, i, n, code, person, _ in PADISI_ROWS)])
    make_text(tables / "padisi_USC_FACE_dataset_partition_3folds_part0.csv", [
        "transaction_id,trial_id,trial_name,partition_name",
        *(f"{t},{i},{n},{part}" for t, i, n, _, _, part in PADISI_ROWS)])
    planes = np.zeros((1, 22, 32, 24), np.float32)
    planes[0, 0], planes[0, 1], planes[0, 2], planes[0, 3] = 0.2, 0.4, 1.0, 0.9  # blue, green, red, infrared
    for t, i, n, *_ in PADISI_ROWS:
        np.savez(tmp_path / f"ID_{t}_{i}_{n}.npz", data=planes)
    return tmp_path


def test_padisi_takes_codes_species_people_and_partitions(padisi_root: Path) -> None:
    pictures = read_padisi(padisi_root)
    assert [(picture.attack, picture.subject, picture.split) for picture in pictures] == [
        (None, "p1", "train"), ("glasses", "p1", "train"), ("print", "p2", "dev"), ("tattoo", "p3", "test"),
        ("flexible mask", "p3", "test"), ("fakehead", "p3", "test"), ("makeup", "p4", "test")]
    rgb = load_rgb(pictures[0])
    assert rgb.shape == (32, 24, 3) and rgb[0, 0].tolist() == [255, 102, 51]


def test_padisi_never_opens_a_pickle(tmp_path: Path, padisi_root: Path) -> None:
    only = tmp_path / "colour"
    only.mkdir()
    (only / "padisi_USC_FACE_preprocessed.bz2").write_bytes(b"")
    with pytest.raises(LayoutError, match="is a pickle and is not read"):
        read_padisi(only)
    target = next(iter(sorted(padisi_root.glob("ID_t1*.npz"))))
    np.savez(target, data=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(PictureError, match="without Python objects"):
        load_rgb(read_padisi(padisi_root)[0])
    np.savez(target, data=np.zeros((1, 2, 8, 8)))
    with pytest.raises(LayoutError, match=r"\[1, 2, 8, 8\]"):
        load_rgb(read_padisi(padisi_root)[0])
    np.savez(target, other=np.zeros(3))
    with pytest.raises(LayoutError, match="no array 'data'"):
        load_rgb(read_padisi(padisi_root)[0])


def test_padisi_refuses_tables_that_do_not_fit(padisi_root: Path) -> None:
    next(iter(padisi_root.glob("ID_t7*.npz"))).unlink()
    with pytest.raises(LayoutError, match="'ID_t7_g_NEUTRAL', which is not in the arrays"):
        read_padisi(padisi_root)
    with pytest.raises(LayoutError, match="3folds_part2"):
        read_padisi(padisi_root, fold=2)
    with pytest.raises(LayoutError, match="known are m00000, m501"):
        padisi.label_of("m51001")
    table = padisi_root / "data" / "face_partitions" / "padisi_USC_FACE_ground_truth.csv"
    make_text(table, ["transaction_id,trial_id,trial_name,label", "t,i,n,0"])
    with pytest.raises(LayoutError, match="needs the columns ground_truth, participant_id"):
        read_padisi(padisi_root)


# --- CelebA-Spoof


def celeba_numbers(kind: int, live: int | None = None) -> list[int]:
    return [0] * 40 + [kind, 1, 1, (int(kind > 0) if live is None else live)]


@pytest.fixture
def celeba_root(tmp_path: Path) -> Path:
    tables: dict[str, dict[str, list[int]]] = {"train": {}, "test": {}}
    for kind, name in ((0, "a.png"), (2, "b.png"), (0, "c.jpg"), (8, "d.jpg"), (4, "e.png"), (10, "f.png")):
        split, subject = ("train", "1") if name < "c" else ("test", "9")
        place = f"Data/{split}/{subject}/{'spoof' if kind else 'live'}/{name}"
        make_still(tmp_path / place, size=(448, 112))
        tables[split][place] = celeba_numbers(kind)
    make_text(tmp_path / "Data/test/9/live/c_BB.txt", ["56 28 112 168 0.99"])
    for split, table in tables.items():
        make_text(tmp_path / "metas" / "intra_test" / f"{split}_label.json", [json.dumps(table)])
    return tmp_path


def test_celeba_spoof_takes_subjects_from_folders_and_faces_from_boxes(celeba_root: Path) -> None:
    pictures = read_celeba_spoof(celeba_root)
    assert facts(pictures) == {("a", None, "1", "train"), ("b", "print", "1", "train"), ("c", None, "9", "test"),
                               ("d", "replay", "9", "test"), ("e", "paper mask", "9", "test"),
                               ("f", "rigid mask", "9", "test")}
    by_name = {picture.path.stem: picture for picture in pictures}
    # The box is on a scale of 224 x 224, the picture has 448 x 112 pixels.
    assert by_name["c"].face == (112, 14, 336, 98) and by_name["d"].face is None
    assert load_rgb(by_name["c"]).shape == (112, 448, 3)


def test_celeba_spoof_refuses_labels_that_contradict(celeba_root: Path) -> None:
    for numbers, expected in ((celeba_numbers(0, 1), "does not go with 1"), (celeba_numbers(11), "known are 1, 2"),
                              ([0] * 43, "44 numbers, not 43")):
        with pytest.raises(LayoutError, match=expected):
            celeba_spoof.label_of(numbers)
    table = celeba_root / "metas" / "intra_test" / "test_label.json"
    make_text(table, [json.dumps({"Data/test/9/live/c.jpg": celeba_numbers(1)})])
    with pytest.raises(LayoutError, match="labelled print, against its folder"):
        read_celeba_spoof(celeba_root)
    make_text(table, [json.dumps({"test/c.jpg": celeba_numbers(0)})])
    with pytest.raises(LayoutError, match=r"not at 'test/c\.jpg'"):
        read_celeba_spoof(celeba_root)
    make_text(table, ["[]"])
    with pytest.raises(LayoutError, match="not a table"):
        read_celeba_spoof(celeba_root)
    with pytest.raises(LayoutError, match=r"'metas/protocol1/train_label\.json'"):
        read_celeba_spoof(celeba_root, protocol="protocol1")


# --- OULU-NPU

OULU = {"Train": ["+1,1_1_01_1", "-1,1_1_01_2"], "Dev": ["+1,1_2_21_1", "-2,1_2_21_4"],
        "Test": ["+1,1_3_36_1", "-1,1_3_36_3", "-2,1_3_36_5"]}


@pytest.fixture(scope="module")
def oulu_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oulu")
    for name, lines in OULU.items():
        make_text(root / "Protocols" / "Protocol_1" / f"{name}.txt", lines)
        make_text(root / "Protocols" / "Protocol_4" / f"{name}_6.txt", lines[:2])
        for line in lines:
            make_clip(root / f"{name}_files" / f"{line.split(',')[1]}.avi", length=10)
    return root


def test_oulu_npu_reads_kinds_from_names_and_users_as_subjects(oulu_root: Path) -> None:
    pictures = read_oulu_npu(oulu_root, frames=2)
    assert facts(pictures) == {("1_1_01_1", None, "01", "train"), ("1_1_01_2", "print", "01", "train"),
                               ("1_2_21_1", None, "21", "dev"), ("1_2_21_4", "replay", "21", "dev"),
                               ("1_3_36_1", None, "36", "test"), ("1_3_36_3", "print", "36", "test"),
                               ("1_3_36_5", "replay", "36", "test")}
    assert [picture.frame for picture in pictures[:2]] == [2, 7]
    assert len(read_oulu_npu(oulu_root, protocol="4.6", frames=1)) == 6


def test_oulu_npu_refuses_what_contradicts(oulu_root: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"known are 1, 2, 3.1"):
        read_oulu_npu(oulu_root, protocol="3")
    with pytest.raises(LayoutError, match=r"'Protocols/Protocol_2/Train.txt'"):
        read_oulu_npu(oulu_root, protocol="2")
    for line, expected in (("-1,1_1_01_1", "against its name"), ("1_1_01_1", "is '[+]1,1_1_01_1', not"),
                           ("+1,9_1_01_7", "not '[+]1,9_1_01_7'"), ("+1,1_1_02_1", "Train_files/1_1_02_1.avi")):
        make_text(tmp_path / "Protocols" / "Protocol_1" / "Train.txt", [line])
        with pytest.raises(LayoutError, match=expected):
            read_oulu_npu(tmp_path)


# --- any folder


def test_a_folder_with_a_table_takes_stills_clips_and_boxes(tmp_path: Path) -> None:
    make_still(tmp_path / "prints" / "1.png")
    make_clip(tmp_path / "live" / "2.avi")
    table = make_text(tmp_path / "labels.csv", ["picture,label,subject,split,box",
                                                "prints/1.png,Paper_Mask,anna,test,4 6 18.5 22",
                                                "prints/1.png,glasses,anna,test,\"[4, 6, 18, 22]\"",
                                                "live/2.avi,live,ben,dev,"])
    pictures = read_folder(tmp_path, table, frames=3, source="mine")
    assert [(p.attack, p.frame, p.box, p.source) for p in pictures] == [
        ("paper mask", None, (4, 6, 18.5, 22), "mine"), ("glasses", None, (4, 6, 18, 22), "mine"),
        *((None, frame, None, "mine") for frame in (5, 15, 25))]


@pytest.mark.parametrize(("row", "expected"), [
    ("a.png,hologram,s,test,", "line 2: 'hologram' is no known label; known are live, print"),
    ("a.png,live,s,holdout,", "known are train, dev, test"), ("a.png,live,,test,", "subject is missing"),
    ("b.png,live,s,test,", "no file 'b.png'"), ("../t.csv,live,s,test,", "no file '../t.csv'"),
    ("a.png,print,s,test,1 2 3", "four numbers"), ("a.png,print,s,test,9 9 3 3", "x1 < x2"),
    ("a.png,print,s,test,0 0 nan 3", "x1 < x2")])
def test_a_row_that_does_not_fit_is_named(row: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_still(folder / "a.png")
    table = make_text(tmp_path / "t.csv", ["picture,label,subject,split,box", row])
    with pytest.raises(LayoutError, match=expected):
        read_folder(folder, table)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="it has path, label"):
        read_folder(tmp_path, make_text(tmp_path / "t.csv", ["path,label", "a,b"]))
    with pytest.raises(LayoutError, match="no CSV"):
        read_folder(tmp_path, tmp_path / "nowhere.csv")
    with pytest.raises(LayoutError, match="no picture"):
        read_folder(tmp_path, make_text(tmp_path / "t.csv", ["picture,label,subject,split"]))


# --- all of them


def test_every_label_map_names_attack_types_only() -> None:
    named = {kind for kinds in wmca.ATTACKS.values() for kind in kinds}
    for kinds in (siw_mv2.ATTACKS, padisi.ATTACKS, padisi.SPECIES, celeba_spoof.ATTACKS, oulu_npu.ATTACKS):
        named |= {kind for kind in kinds.values() if kind is not None}
    assert named == set(ATTACK_TYPES)  # between them the sets show all eleven


@pytest.mark.parametrize("read", [read_wmca, read_siw_mv2, read_padisi, read_celeba_spoof, read_oulu_npu])
def test_a_missing_folder_is_a_sentence_without_its_path(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(VisagentError, match="nowhere") as caught:
        read(tmp_path / "nowhere")
    assert str(tmp_path) not in str(caught.value)


def test_a_table_with_a_comma_in_quotes_is_a_csv(tmp_path: Path) -> None:
    make_still(tmp_path / "a, b.png")
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["picture", "label", "subject", "split"], ["a, b.png", "live", "s", "train"]])
    assert read_folder(tmp_path, tmp_path / "t.csv")[0].path.name == "a, b.png"
