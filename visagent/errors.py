"""The exception tree.

```
VisagentError
├── PictureError          the bytes cannot be taken as a picture
│   ├── NotAPicture         wrong magic bytes, or a format that is not allowed
│   ├── PictureTooLarge     too many bytes or pixels; refused before decoding
│   ├── PictureTooSmall     a side is too short to show anything
│   ├── DamagedPicture      truncated or corrupt
│   └── TooManyPictures     the session holds as many as it may
├── ClipError             the bytes cannot be taken as a video clip
│   ├── NotAClip            wrong magic bytes, no video inside, or a container or coding that is not allowed
│   ├── ClipTooLarge        too many bytes, pixels, packets or seconds; refused before decoding
│   ├── ClipTooSmall        a side is too short to show anything
│   ├── ClipTooCostly       reading it took too long, needed too much memory, or killed the worker
│   └── DamagedClip         truncated or corrupt
├── UnknownPicture        an id that this session never issued
├── SettingsError         a setting is unknown or out of range
├── WeightsError          a model is missing, altered, or in a refused format
├── CalibrationError      a threshold file, or data to make one, does not fit
├── GalleryError          the gallery cannot be opened or changed
│   ├── NotAGallery         the file or database is something else, or of a newer version
│   ├── WrongKey            the master key is missing, open to others, or another one
│   ├── ContractMismatch    embeddings of another encoder
│   ├── TamperedGallery     a record is not what was sealed
│   ├── UnknownPerson       nobody of this name is enrolled
│   └── PersonExists        the name is taken
├── PrivateMatchError     recognition over encrypted templates cannot go on
│   ├── PrivateKeyError     a key is missing, open to others, or does not belong to the others
│   ├── BadMessage          a message is cut short, altered, sent twice, or holds what it must not
│   ├── ServerUnreachable   a server does not answer in time, broke off, or is not who it should be
│   ├── RandomnessSpent     the random numbers dealt for queries are used up
│   └── DamagedRecord       something stored is not what was sealed
├── AnalysisError         a table of scores or embeddings cannot be analysed
├── AuditError            the audit trail was changed or cannot be written
├── EngineError           the vision-language model cannot be loaded or reached
│   └── EngineUnavailable   the server does not answer
├── TurnStopped           somebody stopped the answer
└── QuestionError         the question is empty or too long
```

Every message says what happened and what to do, and names no path of the host: a message may reach a model or a page.
What happens to a *face* (none found, too blurred, two of them) is never an exception: it is a `Finding` that abstains.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class VisagentError(Exception):
    """Base of everything that visagent raises on purpose."""


class PictureError(VisagentError):
    """The bytes cannot be taken as a picture."""


class NotAPicture(PictureError):
    """The bytes are not a JPEG, PNG, WebP or GIF picture."""


class PictureTooLarge(PictureError):
    """The file or its pixel count is over the limit; nothing was decoded."""


class PictureTooSmall(PictureError):
    """A side of the picture is too short to show anything."""


class DamagedPicture(PictureError):
    """The picture is truncated or corrupt."""


class TooManyPictures(PictureError):
    """The session holds as many pictures as it may."""


class ClipError(VisagentError):
    """The bytes cannot be taken as a video clip."""


class NotAClip(ClipError):
    """The bytes are no MP4, MOV, WebM, MKV or AVI clip, or one of a coding that is not allowed."""


class ClipTooLarge(ClipError):
    """The file, its frames or its length are over the limit; nothing was decoded."""


class ClipTooSmall(ClipError):
    """A side of the frames is too short to show anything."""


class ClipTooCostly(ClipError):
    """Reading the clip took too long, needed too much memory, or ended the process that did it."""


class DamagedClip(ClipError):
    """The clip is truncated or corrupt; no frame of it could be read."""


class UnknownPicture(VisagentError):
    """A picture id that this session never issued."""


class SettingsError(VisagentError):
    """A setting is unknown or out of range."""


class WeightsError(VisagentError):
    """A model's weights are missing, altered, or in a refused format."""


class CalibrationError(VisagentError):
    """A threshold file is damaged or of another encoder, or labelled data do not suffice to make one."""


class GalleryError(VisagentError):
    """The gallery cannot be opened or changed."""


class NotAGallery(GalleryError):
    """The file or database is no gallery of visagent, or one of a newer version."""


class WrongKey(GalleryError):
    """The master key is missing, readable by others, or not the one that the gallery was made with."""


class ContractMismatch(GalleryError):
    """The gallery holds embeddings of another encoder; embeddings of two encoders cannot be compared."""


class TamperedGallery(GalleryError):
    """A record is not what was sealed: it was changed, cut or moved."""


class UnknownPerson(GalleryError):
    """Nobody of this name is enrolled."""


class PersonExists(GalleryError):
    """The name is taken."""


class AnalysisError(VisagentError):
    """A table of scores or embeddings lacks columns or rows that an analysis needs."""


class AuditError(VisagentError):
    """The audit trail was changed, or cannot be written."""


class PrivateMatchError(VisagentError):
    """Recognition over encrypted templates cannot go on."""


class PrivateKeyError(PrivateMatchError):
    """A key is missing, open to others, of a wrong size, or does not belong to the others."""


class BadMessage(PrivateMatchError):
    """A message is cut short, altered, sent twice, or holds what it must not."""


class ServerUnreachable(PrivateMatchError):
    """A server does not answer in time, broke off, or is not who it should be."""


class RandomnessSpent(PrivateMatchError):
    """The random numbers that the key authority dealt for queries are used up."""


class DamagedRecord(PrivateMatchError):
    """Something stored is not what was sealed."""


class EngineError(VisagentError):
    """The vision-language model cannot be loaded, or failed."""


class EngineUnavailable(EngineError):
    """The model server does not answer."""


class TurnStopped(VisagentError):
    """Somebody stopped the answer before it was complete."""


class QuestionError(VisagentError):
    """The question is empty or too long."""


def run_command(main: Callable[[], None]) -> None:
    """Run the `main` of a `python -m` command: a `VisagentError` ends it with one line on stderr and status 1."""
    try:
        main()
    except VisagentError as error:
        sys.exit(str(error))
