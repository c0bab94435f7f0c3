"""Teach visagent-nano to answer and to call tools, on the trained vision tower.

    python -m visagent.finetune.nano --views runs/views --data ../shared/data --teacher runs/expression-teacher \
        --tower runs/vision-tower --out runs/nano

The tower stays as it is: what `visagent.finetune.curriculum` shows teaches the connector and the decoder. Only the
answers' tokens are in the loss. Batches hold exercises of like length. Checkpoints every few minutes; run again with
the same folder to go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.conversation import TOOL_NAMES
from visagent.datasets.nano_examples import SpoofLabel, expression_question, spoof_answer, spoof_question
from visagent.datasets.routing import sample_text_example
from visagent.errors import run_command
from visagent.finetune.copying import Copies, copying_loss
from visagent.finetune.curriculum import PICTURES_OF_TALK, TEXT_SHARE, Curriculum, Exercise, Picture
from visagent.finetune.expression_teacher import SIDE, ExpressionTeacher, normalise, read
from visagent.finetune.loop import muon, train
from visagent.finetune.nano_model import GRID, build_nano, build_processor, train_tokenizer
from visagent.finetune.reading import Learner, Readings, reading_loss
from visagent.finetune.views import ViewSet, open_views, vary_camera, vary_detail
from visagent.finetune.vision_tower import enlarge
from visagent.tools.spoof.network import as_input
from visagent.vision.crop import VIEW_SIDE

DECISION = 0.6
"""Weight in the loss of an answer's first token, which decides what kind of answer it is: the same for every answer,
or the short ones (live) would be preferred to the long ones (spoof). Likewise of the names in a tool call."""
COPIES, COPYING = 24, 0.3
"""Questions with names per step, and their weight, see `visagent.finetune.copying`."""
READINGS = 224
"""Bare questions per step, see `visagent.finetune.reading`."""


def pictures_of(batch: list[Exercise]) -> list[Picture]:
    """The different pictures of a batch, those of conversations last, each kind in the order of its appearance."""
    pictures = dict.fromkeys(picture for exercise in batch for picture in exercise.pictures)
    return sorted(pictures, key=lambda picture: picture[0] == "talk")


def pixels_of(
    batch: list[Exercise], views: ViewSet, gray: NDArray[np.uint8], rng: np.random.Generator
) -> torch.Tensor:
    """The different pictures of a batch other than those of conversations, float32 `[P, 3, 192, 192]`."""
    pictures = [picture for picture in pictures_of(batch) if picture[0] != "talk"]
    out = np.empty((len(pictures), VIEW_SIDE, VIEW_SIDE, 3), np.uint8)
    for index, (source, number) in enumerate(pictures):
        if source == "view":
            out[index] = vary_detail(views.pictures(np.array([number])), rng)[0]
        else:
            out[index] = enlarge(gray[number : number + 1], rng)[0]
    return vary_camera(as_input(out), rng)


@torch.no_grad()
def see(nano: Idefics3ForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """What the tower makes of pictures, bfloat16 `[P, 144, 256]`."""
    everywhere = torch.ones(len(pixels), GRID, GRID, dtype=torch.bool, device=pixels.device)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        seen = nano.model.vision_model(pixel_values=pixels, patch_attention_mask=everywhere)
    states: torch.Tensor = seen.last_hidden_state
    return states.to(torch.bfloat16)


def see_talk(nano: Idefics3ForConditionalGeneration, views: ViewSet, device: torch.device) -> torch.Tensor:
    """What the tower makes of the pictures of conversations, bfloat16 `[256, 144, 256]`."""
    numbers = np.arange(min(PICTURES_OF_TALK, len(views)))
    parts = [see(nano, as_input(views.screened(part)).to(device)) for part in np.array_split(numbers, 8) if len(part)]
    return torch.cat(parts)


def training_loss(
    nano: Idefics3ForConditionalGeneration,
    batch: list[Exercise],
    pixels: torch.Tensor,
    talk: torch.Tensor,
    pad: int,
    device: torch.device,
) -> torch.Tensor:
    """Cross-entropy of the answers' tokens, each weighted by one over the square root of its answer's length.

    A plain mean over tokens would be all about long, easy answers; a mean over answers would drown the first word of a
    long one, which decides everything after it. That first token, and a call's names, weigh the same in all answers.

    Each question of an exercise sees the beginning and itself, at the positions it would have without the others: the
    loss is that of as many separate conversations.

    Args:
        nano: The model; its tower is not trained.
        batch: Exercises.
        pixels: Of `pixels_of`, in its order.
        talk: Of `see_talk`.
        pad: Token that fills the rows up.
        device: Where the model is.
    """
    sheet = _lay_out(batch, pad)
    ids, target = sheet.ids.to(device), sheet.target.to(device)
    places = [picture for exercise in batch for picture in exercise.pictures]
    with torch.autocast(device.type, torch.bfloat16):
        embedded = nano.model.text_model.get_input_embeddings()(ids)
        if places:
            fresh = see(nano, pixels.to(device)) if len(pixels) else talk[:0]
            told = [number for source, number in pictures_of(batch) if source == "talk"]
            tokens = nano.model.connector(torch.cat([fresh, talk[told]]))
            row = {picture: index for index, picture in enumerate(pictures_of(batch))}
            tokens = tokens[[row[picture] for picture in places]]
            embedded = embedded.masked_scatter(
                (ids == nano.config.image_token_id)[..., None], tokens.flatten(0, 1).to(embedded.dtype)
            )
        hidden = nano.model.text_model(
            inputs_embeds=embedded,
            attention_mask=sheet.visible.to(device),
            position_ids=sheet.positions.to(device),
            use_cache=False,
        ).last_hidden_state
        wanted = target[:, 1:] != -100
        logits = nano.lm_head(hidden[:, :-1][wanted])
    losses = nn.functional.cross_entropy(logits.float(), target[:, 1:][wanted], reduction="none")
    questions = sum(len(exercise.endings) for exercise in batch)
    return (losses * sheet.weight.to(device)[:, 1:][wanted]).sum() / questions


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Exercises side by side in rows of `L` tokens.

    Attributes:
        ids: int64 `[B, L]`.
        target: The same where a token is to be learned, else -100.
        weight: Of each token in the loss, float32 `[B, L]`.
        positions: int64 `[B, L]`; every ending begins where the beginning stops.
        visible: Which token sees which, bool `[B, 1, L, L]`.
    """

    ids: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor


def _lay_out(batch: list[Exercise], pad: int) -> _Sheet:
    length = max(len(exercise) for exercise in batch)
    ids = torch.full((len(batch), length), pad)
    target = torch.full((len(batch), length), -100)
    weight = torch.zeros(len(batch), length)
    positions = torch.zeros(len(batch), length, dtype=torch.long)
    part = torch.full((len(batch), length), -1)  # 0 for the beginning, 1, 2, ... for the endings, -1 for the filling
    for row, exercise in enumerate(batch):
        at = len(exercise.beginning)
        ids[row, :at] = torch.tensor(exercise.beginning)
        positions[row, :at] = torch.arange(at)
        part[row, :at] = 0
        for number, ending in enumerate(exercise.endings, 1):
            size, answer = len(ending.ids), at + ending.answer_from
            ids[row, at : at + size] = torch.tensor(ending.ids)
            positions[row, at : at + size] = torch.arange(size) + len(exercise.beginning)
            part[row, at : at + size] = number
            target[row, answer : at + size] = ids[row, answer : at + size]
            weight[row, answer : at + size] = (size - ending.answer_from) ** -0.5
            for place in (ending.answer_from, *ending.deciding):
                weight[row, at + place] = DECISION
            at += size
    same = part[:, :, None] == part[:, None, :]
    visible = (same | (part == 0)[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return _Sheet(ids, target, weight, positions, visible[:, None])


@torch.inference_mode()
def teach_live_expressions(views: ViewSet, teacher: ExpressionTeacher) -> NDArray[np.float32]:
    """The teacher's probabilities for every live view, float32 `[L, 8]`."""
    live = np.flatnonzero(views.kinds == 0)
    said = []
    for start in range(0, len(live), 256):
        small = np.stack(
            [
                cv2.resize(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                for view in views.pictures(live[start : start + 256])
            ]
        )
        said.append(teacher(normalise(small.astype(np.uint8))).softmax(1).numpy())
    return np.concatenate(said)


def make_corpus(count: int, seed: int) -> list[str]:
    """Texts for the tokenizer: questions, answers and conversations."""
    rng = Random(seed)
    corpus = []
    for _ in range(count):
        for message in sample_text_example(rng).chat():
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content or ""}]
            corpus += [str(part.get("text", "")) for part in parts]
            corpus.append(json.dumps(message.get("tool_calls") or ""))
        question, intent = spoof_question(rng)
        clues = tuple(rng.sample(CLUES, 3))
        corpus += [
            question,
            spoof_answer(SpoofLabel(rng.choice(ATTACK_TYPES), clues, (0.1, 0.2, 0.3, 0.4)), intent),
            spoof_answer(SpoofLabel(None, (), None), intent),
            expression_question(rng),
        ]
    return corpus


def save_nano(nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that is shipped: bfloat16 safetensors, processor, template, `visagent.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.bfloat16) for name, value in nano.state_dict().items()}
    nano.save_pretrained(folder, state_dict=state)
    build_processor(tokenizer).save_pretrained(folder)
    profile = {"view": "face", "box_scale": 1000, "system_prompt": "nano", "answers_with": "findings",
               "tools": list(TOOL_NAMES)}
    (folder / "visagent.json").write_text(json.dumps(profile) + "\n")
    configuration = json.loads((folder / "config.json").read_text())
    configuration["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("--views", "--data", "--teacher", "--tower", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--start", type=Path, help="folder of a saved nano to go on from")
    parser.add_argument("--text-share", type=float, default=TEXT_SHARE, help="share of conversations, 0 to 1")
    parser.add_argument("--readings", type=int, default=250_000, help="bare questions to practise reading on")
    parser.add_argument("--names", type=int, default=40_000, help="bare questions to practise copying names on")
    parser.add_argument("--seed", type=int, default=0, help="of the examples; take another to go on with new ones")
    parser.add_argument("--minutes-between-checkpoints", type=float, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = open_views(options.views / "train")
    gray, votes = read(options.data, "train")
    teacher = ExpressionTeacher()
    teacher.load_state_dict(load_file(options.teacher / "state.safetensors"))
    if options.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start)
    else:
        tokenizer = train_tokenizer(make_corpus(6_000, 0))
    live = teach_live_expressions(views, teacher.eval())
    curriculum = Curriculum(tokenizer, views, gray, votes.numpy(), live, options.text_share)
    nano = build_nano(tokenizer)
    if options.start:
        nano.load_state_dict(load_file(options.start / "model.safetensors"), strict=False)  # the head is tied
    nano.model.vision_model.load_state_dict(load_file(options.tower / "tower.safetensors"))
    nano.model.vision_model.requires_grad_(False)
    learner = Learner(nano).to(device)
    talk = see_talk(nano, views, device)
    readings = Readings(tokenizer, options.readings, options.seed)
    copies = Copies(tokenizer, options.names, options.seed)
    batches: Iterator[list[Exercise]] | None = None

    def loss_of(step: int) -> torch.Tensor:
        nonlocal batches
        batches = batches or curriculum.batches(options.seed + step, options.batch)
        batch = next(batches)
        rng = np.random.default_rng(step)
        pixels = pixels_of(batch, views, gray, rng)
        answers = training_loss(nano, batch, pixels, talk, tokenizer.pad_token_id, device)
        read = reading_loss(learner, *readings.draw(READINGS, rng), rng)
        return answers + read + COPYING * copying_loss(learner, *copies.draw(COPIES, rng), rng)

    def report(_: int) -> str:
        save_nano(nano, tokenizer, options.out / "visagent-nano")
        return "saved"

    train(
        learner,
        muon(learner, options.rate),
        loss_of,
        steps=options.steps,
        checkpoint=options.out / "checkpoint.safetensors",
        report=report,
        warm_up=0.05,
        minutes=options.minutes_between_checkpoints,
    )


if __name__ == "__main__":
    run_command(main)
