"""The samples of supervised fine-tuning: conversations about pictures, as tensors in which only answers are trained.

A data folder holds `train.parquet` and `dev.parquet` of Hugging Face `datasets`, with the columns `images` (a list of
pictures) and `messages` (TRL's conversational format: `{role, content: [{type: "text", text} | {type: "image"}]}`).
Texts are made by the model's own chat template, pictures prepared by its own processor, whatever its family.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from visagent.errors import PictureError, SettingsError
from visagent.media import load_picture
from visagent.vision.crop import ByteImage
from visagent.vision.savp import savp_maps

IGNORED = -100
"""The label of a token that is not trained."""

Row = Mapping[str, Any]
Message = dict[str, Any]


def read_split(folder: Path, split: str, limit: int | None = None) -> Any:
    """The rows of `split.parquet`, a `datasets.Dataset` whose pictures are not decoded yet.

    Args:
        folder: The data folder.
        split: "train" or "dev".
        limit: At most this many rows, the first ones.

    Raises:
        SettingsError: The file is missing or empty, a column is missing or of another kind, a conversation has no
            answer, or its pictures are not as many as its image parts.
    """
    import datasets
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    file = folder / f"{split}.parquet"
    if not file.is_file():
        raise SettingsError(f"{split}.parquet is not in the data folder; make a set with "
                            "python -m visagent.datasets.instructions, or see docs/finetuning.md for the format.")
    datasets.disable_progress_bars()
    try:
        if not parquet.read_metadata(file).num_rows:
            raise SettingsError(f"{split}.parquet holds no sample.")
        rows = datasets.Dataset.from_parquet(str(file))
    except SettingsError:
        raise
    except Exception as error:  # pyarrow and datasets each raise their own
        raise SettingsError(f"{split}.parquet cannot be read ({type(error).__name__}); write it with "
                            "datasets.Dataset.to_parquet.") from error
    if missing := {"images", "messages"} - set(rows.column_names):
        raise SettingsError(f"{split}.parquet lacks the column {' and '.join(sorted(missing))}; it has "
                            f"{', '.join(rows.column_names)}.")
    try:
        rows = rows.select_columns(["images", "messages"]).cast_column(
            "images", datasets.List(datasets.Image(decode=False)))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The column images of {split}.parquet is no list of pictures.") from error
    if limit is not None and limit < len(rows):
        rows = rows.select(range(limit))
    lengths = compute.list_value_length(rows.data.column("images"))  # without reading the pictures
    for number, (messages, pictures) in enumerate(zip(rows["messages"], lengths.to_pylist(), strict=True)):
        _check(messages, pictures, f"Sample {number} of {split}.parquet")
    return rows


class Collator:
    """Rows of the data set as one batch of the model's inputs, with `labels` of the answers' tokens.

    Args:
        processor: The model's processor of transformers.
        savp: Put each picture's maps (gray, HOG, LBP; FaceShield, SAVP) behind it as a second picture.
        ends: Tokens that end a turn, as text. Where a template ends answers with none of them (LLaVA's), the first is
            put there, so that the model learns to stop.
        longest: Most tokens of a sample: what the model's context holds.
    """

    def __init__(self, processor: Any, *, savp: bool = False, ends: Sequence[str] = (), longest: int | None = None
                 ) -> None:
        self._processor, self._savp, self._longest = processor, savp, longest
        self._ends = tuple(ends) or (processor.tokenizer.eos_token,)

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """The batch: `input_ids`, `attention_mask` and `labels` int64 `[B, L]`, and the pictures as the model wants.

        Raises:
            PictureError: A picture cannot be read.
            SettingsError: A sample is too long, or the chat template does not do what this needs.
        """
        texts, spans, pictures = [], [], []
        for row in rows:
            messages = [_plain(message) for message in row["messages"]]
            shown = [load_picture(_bytes_of(image)).rgb for image in row["images"]]
            if self._savp:
                messages, shown = with_maps(messages, shown)
            text, answers = self.render(messages)
            texts.append(text)
            spans.append(answers)
            pictures.append(shown)
        batch = dict(self._processor(
            text=texts, images=pictures if any(pictures) else None, padding=True, padding_side="right",
            return_tensors="pt", return_offsets_mapping=True, return_text_replacement_offsets=True,
            add_special_tokens=not _begins_by_itself(self._processor.tokenizer, texts[0])))
        offsets = batch.pop("offset_mapping")
        replaced = batch.pop("text_replacement_offsets", None) or [[] for _ in rows]
        ids = batch["input_ids"]
        labels = torch.full_like(ids, IGNORED)
        for number, answers in enumerate(spans):
            trained = _covered(offsets[number], [_moved(span, replaced[number]) for span in answers])
            trained &= batch["attention_mask"][number].bool()
            labels[number, trained] = ids[number, trained]
        if self._longest is not None and ids.shape[1] > self._longest:
            raise SettingsError(f"A sample takes {ids.shape[1]} tokens and the model holds {self._longest}; make the "
                                "conversations shorter, or take fewer or smaller pictures.")
        return {**batch, "labels": labels}

    def render(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """A conversation as its template writes it, and where in this text the answers are, their end marks included.

        An answer is what stands between the text that asks for it (the generation prompt, which is what the model is
        given later) and the next turn.

        Raises:
            SettingsError: The template writes a turn differently once it is answered.
        """
        template = self._processor.apply_chat_template
        text, spans, done = "", [], ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = str(template(messages[:number], tokenize=False, add_generation_prompt=True))
            told = str(template(messages[:number + 1], tokenize=False))
            if not (asked.startswith(done) and told.startswith(asked)):
                raise SettingsError("The model's chat template changes earlier turns when an answer follows, so that "
                                    "its answers cannot be told from the rest; give the model another template.")
            answer = told[len(asked):].rstrip()
            after = told[len(asked) + len(answer):]
            if not answer.endswith(self._ends):
                answer += self._ends[0]
            text += asked[len(done):]
            spans.append((len(text), len(text) + len(answer)))
            text += answer + after
            done = told
        return text, spans


def with_maps(messages: Sequence[Message], pictures: Sequence[ByteImage]) -> tuple[list[Message], list[ByteImage]]:
    """The conversation with each picture followed by its maps (gray, HOG, LBP) as a picture of its own."""
    doubled: list[Message] = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [twin for part in content for twin in ([part, part] if part["type"] == "image" else [part])]
        doubled.append({**message, "content": content})
    return doubled, [shown for picture in pictures for shown in (picture, savp_maps(picture))]


def _check(messages: Any, pictures: int, where: str) -> None:
    try:
        places = sum(part["type"] == "image" for message in messages if not isinstance(message["content"], str)
                     for part in message["content"])
        answered = [message["role"] for message in messages][-1] == "assistant"
    except (TypeError, KeyError, IndexError):
        raise SettingsError(f"{where} is no conversation: messages are a list of role and content, and content a list "
                            "of parts of type text or image.") from None
    if not answered:
        raise SettingsError(f"{where} does not end with an answer of the assistant.")
    if places != pictures:
        raise SettingsError(f"{where} has {pictures} pictures and {places} places for pictures in its messages.")


def _plain(message: Mapping[str, Any]) -> Message:
    """A message without the empty fields that a column of parts of several types has."""
    content = message["content"]
    if not isinstance(content, str):
        content = [{name: value for name, value in part.items() if value is not None} for part in content]
    return {"role": message["role"], "content": content}


def _bytes_of(image: Mapping[str, Any]) -> bytes:
    if image.get("bytes") is not None:
        return bytes(image["bytes"])
    try:
        return Path(image["path"]).read_bytes()
    except (OSError, TypeError):
        raise PictureError("A picture of the data set is a path to a file that is not here; write the set with the "
                           "pictures in it (datasets embeds them in to_parquet).") from None


def _begins_by_itself(tokenizer: Any, text: str) -> bool:
    """Whether the template has already written what the tokenizer would put before a text."""
    return tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)


def _moved(span: tuple[int, int], replaced: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """A span of the text in the text whose image marks have been written out."""
    ends = [one["span"][1] for one in replaced]
    gained = [0, *(one["new_span"][1] - one["span"][1] for one in replaced)]
    start, end = (place + gained[bisect_right(ends, place)] for place in span)
    return start, end


def _covered(offsets: torch.Tensor, spans: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Which tokens, by their characters' offsets `[L, 2]`, overlap one of the spans: bool `[L]`."""
    covered = torch.zeros(len(offsets), dtype=torch.bool)
    for start, end in spans:
        covered |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return covered
