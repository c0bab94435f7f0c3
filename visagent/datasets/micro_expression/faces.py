"""Real photos as the simulator takes them: gray, aligned as MOL aligns, with their landmarks, in one file.

    python -m visagent.datasets.micro_expression.faces --data ../shared/data --out runs/mol/faces.npz
    python -m visagent.datasets.micro_expression.faces --data ../shared/data --out runs/mol/photos.npz --whole

The photos are those of LFW, split by person; they are stored as JPEG, some 6 KB each. `--whole` leaves them as they
are, for films in which the face has to be found.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from visagent.datasets.sources import Split, face_pictures
from visagent.errors import PictureError, run_command
from visagent.vision.detect import FaceDetector, detect_faces, load_face_detector
from visagent.vision.steady_crop import crop_placing, placed

PHOTO_SIDE = 160
"""Of MOL's 144 pixels, and a border for turns and shifts."""
MOST_PER_PERSON = 3
QUALITY = 90


@dataclass(frozen=True, slots=True)
class AlignedFaces:
    """Photos and landmarks of one split.

    Attributes:
        photos: uint8 `[N, 160, 160]`, or whole ones of another size.
        landmarks: float32 `[N, 68, 2]` in pixels of the photos.
        people: Who each is.
    """

    photos: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    people: tuple[str, ...]

    def tensors(self, chosen: NDArray[np.int64], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Some photos as floats, `[n, 160, 160]`, and their landmarks."""
        return (torch.from_numpy(self.photos[chosen]).to(device).float(),
                torch.from_numpy(self.landmarks[chosen]).to(device))


def aligned(rgb: NDArray[np.uint8], detector: FaceDetector, *, whole: bool = False
            ) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """The aligned gray photo of a picture's biggest face and its landmarks; None if there is no upright face.

    Args:
        rgb: The picture.
        detector: From `load_face_detector`.
        whole: Take the picture as it is, only gray.
    """
    faces = detect_faces(rgb, detector)
    if not faces or faces[0].turns:
        return None
    points = faces[0].landmarks68.astype(np.float64)
    placing = crop_placing(points, PHOTO_SIDE)
    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    if whole:
        return gray, points.astype(np.float32)
    photo = cv2.warpAffine(gray, placing, (PHOTO_SIDE, PHOTO_SIDE), flags=cv2.INTER_CUBIC,
                           borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(photo, np.uint8), placed(points, placing).astype(np.float32)


def gather(data: Path, split: Split, detector: FaceDetector, *, whole: bool = False) -> AlignedFaces:
    """The photos of one split of LFW, at most three of a person. Raises PictureError if LFW is not there."""
    photos, landmarks, people = [], [], []
    seen: Counter[str] = Counter()
    for picture in tqdm(face_pictures(data, "lfw", split), desc=split, mininterval=10):
        if seen[picture.key] >= MOST_PER_PERSON:
            continue
        found = aligned(picture.rgb, detector, whole=whole)
        if found is not None:
            seen[picture.key] += 1
            photos.append(found[0])
            landmarks.append(found[1])
            people.append(picture.key)
    return AlignedFaces(np.stack(photos), np.stack(landmarks), tuple(people))


def save_faces(faces: dict[str, AlignedFaces], path: Path) -> None:
    """Write splits into one file, without pickle."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for split, found in faces.items():
        files = [cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1] for photo in found.photos]
        arrays[f"{split}.lengths"] = np.array([len(file) for file in files], np.int64)
        arrays[f"{split}.bytes"] = np.concatenate(files)
        arrays[f"{split}.landmarks"] = found.landmarks
        arrays[f"{split}.people"] = np.array(found.people)
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_faces(path: Path, split: Split) -> AlignedFaces:
    """Read one split. Raises PictureError if the file is not one that `save_faces` wrote."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ends = np.cumsum(arrays[f"{split}.lengths"])
            files = np.split(arrays[f"{split}.bytes"], ends[:-1])
            landmarks, people = arrays[f"{split}.landmarks"], tuple(map(str, arrays[f"{split}.people"]))
    except (OSError, KeyError, ValueError):
        raise PictureError("The file holds no aligned faces; make it with "
                           "`python -m visagent.datasets.micro_expression.faces`.") from None
    photos = np.stack([np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.uint8) for file in files])
    return AlignedFaces(photos, landmarks, people)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--whole", action="store_true", help="the photos as they are; no training split")
    options = parser.parse_args()
    detector = load_face_detector()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    splits: tuple[Split, ...] = ("dev", "test") if options.whole else ("train", "dev", "test")
    save_faces({split: gather(options.data, split, detector, whole=options.whole) for split in splits}, options.out)


if __name__ == "__main__":
    run_command(main)
