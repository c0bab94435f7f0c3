"""The readers on generated folders of the released layouts, and what they say of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from visagent.datasets.layout import LayoutError
from visagent.datasets.micro_expression.casme2 import read_casme2
from visagent.datasets.micro_expression.record import class_in
from visagent.datasets.micro_expression.samm import read_samm
from visagent.datasets.micro_expression.smic import read_smic


def frames(folder: Path, numbers: Sequence[int], pattern: str) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / pattern.format(number)).write_bytes(b"")


def table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    import pandas

    if path.suffix == ".xlsx":
        pandas.DataFrame(rows).to_excel(path, header=False, index=False)
    else:
        pandas.DataFrame(rows).to_csv(path, header=False, index=False)


CASME2_HEADING = ["Subject", "Filename", "Unnamed: 2", "OnsetFrame", "ApexFrame", "OffsetFrame", "Unnamed: 6",
                  "Action Units", "Estimated Emotion"]


@pytest.fixture(params=["xlsx", "csv"])
def casme2(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "CASME2"
    videos = root / "CASME2_RAW_selected"
    frames(videos / "sub01" / "EP02_01f", range(40, 100), "img{}.jpg")
    frames(videos / "sub01" / "EP19_05f", range(1, 50), "img{}.jpg")
    frames(videos / "sub17" / "EP01_02", range(1, 50), "img{}.jpg")
    table(root / f"CASME2-coding-20140508.{request.param}", [
        CASME2_HEADING, [1, "EP02_01f", "", 46, 59, 86, "", "12", "happiness"],
        [1, "EP19_05f", "", 5, "/", 20, "", "4", "others"], [17, "EP01_02", "", 3, 9, 30, "", "15", "repression"],
        ["", "", "", "", "", "", "", "", ""]])
    return root


def test_casme2_is_read_as_released(casme2: Path) -> None:
    clips = read_casme2(casme2)
    assert [(clip.subject, clip.label, len(clip.frames), clip.apex) for clip in clips] == [
        ("01", "happiness", 41, 13), ("01", "others", 16, None), ("17", "repression", 28, 6)]
    assert clips[0].frames[0].name == "img46.jpg" and clips[0].frames[-1].name == "img86.jpg"
    assert clips[0].frames_per_second == 200
    assert [class_in(clip.label, clip.source, "3") for clip in clips] == ["positive", None, "negative"]
    assert [class_in(clip.label, clip.source, "5") for clip in clips] == ["happiness", "others", "repression"]


def test_samm_is_read_below_its_notes(tmp_path: Path) -> None:
    root = tmp_path / "SAMM"
    frames(root / "006" / "006_1_2", range(5562, 5640), "006_{:05d}.jpg")
    table(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [
        ["Notes", "", "", "", "", "", ""], ["onset and offset in frames", "", "", "", "", "", ""],
        ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion"],
        [6, "006_1_2", 1, 5562, 5588, 5632, "Contempt"]])
    (clip,) = read_samm(root)
    assert (clip.subject, clip.label, len(clip.frames), clip.apex) == ("006", "contempt", 71, 26)
    assert (class_in(clip.label, clip.source, "3"), class_in(clip.label, clip.source, "5")) == ("negative", "others")


def test_smic_has_its_classes_from_its_folders(tmp_path: Path) -> None:
    root = tmp_path / "SMIC"
    frames(root / "HS" / "s1" / "micro" / "negative" / "s1_ne_01", range(90823, 90850), "image{:06d}.bmp")
    frames(root / "HS" / "s9" / "micro" / "surprise" / "s9_sur_03", range(1, 20), "image{:06d}.bmp")
    clips = read_smic(root)
    assert [(clip.subject, clip.label, clip.name, len(clip.frames)) for clip in clips] == [
        ("s1", "negative", "s1_ne_01", 27), ("s9", "surprise", "s9_sur_03", 19)]
    assert [class_in(clip.label, clip.source, "3") for clip in clips] == ["negative", "surprise"]
    assert class_in(clips[0].label, clips[0].source, "5") is None, "SMIC has three classes only"


def test_frames_are_ordered_by_number_and_not_by_name(tmp_path: Path) -> None:
    root = tmp_path / "SMIC"
    frames(root / "HS" / "s1" / "micro" / "positive" / "s1_po_01", range(8, 12), "image{}.jpg")
    (clip,) = read_smic(root)
    assert [path.stem for path in clip.frames] == ["image8", "image9", "image10", "image11"]


def test_another_layout_is_told_with_what_was_expected_and_what_is_there(casme2: Path, tmp_path: Path) -> None:
    (casme2 / "CASME2_RAW_selected").rename(casme2 / "CASME2-RAW")
    with pytest.raises(LayoutError, match=r"expected 'CASME2_RAW_selected', but 'CASME2' holds CASME2-RAW/"):
        read_casme2(casme2)
    (casme2 / "CASME2-RAW").rename(casme2 / "CASME2_RAW_selected")
    next(casme2.glob("CASME2-coding*")).unlink()
    with pytest.raises(LayoutError, match=r"the coding table: expected 'CASME2-coding\*\.xlsx'"):
        read_casme2(casme2)
    table(casme2 / "CASME2-coding-1.xlsx", [["Subject", "Film"], [1, "EP02_01f"]])
    with pytest.raises(LayoutError, match="expected columns subject, filename"):
        read_casme2(casme2)
    table(casme2 / "CASME2-coding-1.xlsx", [CASME2_HEADING, [2, "EP02_01f", "", 1, 2, 3, "", "", "disgust"]])
    with pytest.raises(LayoutError, match="sub02/EP02_01f"):
        read_casme2(casme2)
    table(casme2 / "CASME2-coding-1.xlsx", [CASME2_HEADING, [1, "EP02_01f", "", 900, 901, 950, "", "", "disgust"]])
    with pytest.raises(LayoutError, match="expected frames 900 to 950"):
        read_casme2(casme2)
    (tmp_path / "empty" / "HS").mkdir(parents=True)
    with pytest.raises(LayoutError, match="SMIC: expected"):
        read_smic(tmp_path / "empty")
