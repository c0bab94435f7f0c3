"""The pixels of a record: stills, frames of clips, and the arrays that WMCA and PADISI-Face are released as."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.layout import LayoutError
from visagent.datasets.spoof_benchmarks.record import SpoofPicture, even_frames
from visagent.errors import DamagedPicture, PictureError
from visagent.media import load_picture

CLIPS = (".avi", ".mov", ".mp4", ".mkv", ".webm")
"""Endings of files that are read as clips."""


def load_rgb(picture: SpoofPicture) -> NDArray[np.uint8]:
    """The upright pixels, uint8 `[H, W, 3]`.

    Raises:
        PictureError: The file is missing or damaged, or has no such frame.
        LayoutError: An array of another shape, or an HDF5 file and no library to read it.
    """
    ending = picture.path.suffix.lower()
    if ending in (".hdf5", ".h5"):
        return _hdf5_frame(picture.path, picture.frame or 0)
    if ending == ".npz":
        return _multispectral(picture.path)
    if picture.frame is not None:
        return _clip_frame(picture.path, picture.frame)
    return load_picture(picture.path).rgb


def sampled_frames(path: Path, count: int) -> list[int]:
    """Which frames of a clip or an HDF5 file are taken: `count` of them, evenly. Raises PictureError."""
    length = _hdf5_length(path) if path.suffix.lower() in (".hdf5", ".h5") else _clip_length(path)
    if length < 1:
        raise DamagedPicture(f"The clip {path.name!r} has no frame that can be read; copy it anew from the release.")
    return even_frames(length, count)


def _clip_length(path: Path) -> int:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()


def _clip_frame(path: Path, frame: int) -> NDArray[np.uint8]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        # OpenCV goes back to a key frame and decodes on from there: the frame is the exact one.
        capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        ok, bgr = capture.read()
    finally:
        capture.release()
    if not ok:
        raise DamagedPicture(f"Frame {frame} of {path.name!r} cannot be decoded; copy the clip anew from the release.")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _open_hdf5(path: Path) -> Any:
    try:
        h5py = importlib.import_module("h5py")
    except ModuleNotFoundError:
        raise LayoutError("WMCA is released as HDF5 files; to read them install h5py, which comes with pip install "
                          "'visagent[train]'.") from None
    try:
        return h5py.File(path, "r")
    except OSError:
        raise DamagedPicture(f"{path.name!r} is no HDF5 file that can be read; copy it anew from the release.") \
            from None


def _hdf5_frames(file: Any) -> list[str]:
    """The names of the frames, `Frame_<number>`, by their number."""
    return sorted((name for name in file if name.startswith("Frame_") and name[6:].isdigit()),
                  key=lambda name: int(name[6:]))


def _hdf5_length(path: Path) -> int:
    with _open_hdf5(path) as file:
        return len(_hdf5_frames(file))


def _hdf5_frame(path: Path, frame: int) -> NDArray[np.uint8]:
    with _open_hdf5(path) as file:
        names = _hdf5_frames(file)
        if not 0 <= frame < len(names):
            raise DamagedPicture(f"{path.name!r} has {len(names)} frames, and frame {frame} is asked for.")
        pixels = np.asarray(file[names[frame]]["array"])
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != np.uint8:
        raise LayoutError(f"WMCA's colour frames are uint8 [3, H, W]; {path.name!r} has {pixels.dtype} "
                          f"{list(pixels.shape)}. Is it of another channel?")
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _multispectral(path: Path) -> NDArray[np.uint8]:
    try:
        with np.load(path, allow_pickle=False) as file:
            planes = np.asarray(file["data"])
    except KeyError:
        raise LayoutError(f"{path.name!r} holds no array 'data', as PADISI-Face's files do.") from None
    except (OSError, ValueError, zipfile.BadZipFile):
        raise PictureError(f"{path.name!r} cannot be read as an array file without Python objects in it.") from None
    if planes.ndim != 4 or planes.shape[0] != 1 or planes.shape[1] < 3:
        raise LayoutError(f"PADISI-Face's arrays are [1, 22, 320, 256]; {path.name!r} has {list(planes.shape)}.")
    bgr = planes[0, :3].transpose(1, 2, 0)
    return np.ascontiguousarray(np.clip(np.rint(bgr[:, :, ::-1] * 255.0), 0, 255).astype(np.uint8))
