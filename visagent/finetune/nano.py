"""Teach visagent-nano to answer and to call tools, on the trained vision tower.

    python -m visagent.finetune.nano --views runs/views --data ../shared/data --teacher runs/expression-teacher \
        --tower runs/vision-tower --out runs/nano

Three kinds of examples: questions about a face view (live or attacked) answered from its labels, expression questions
(FER+ pictures with the annotators' votes, live views with the teacher's), and conversations with tool calls. The tower
stays frozen until the last part of the training. Only the answer's tokens are in the loss. Batches hold examples of
like length. Checkpoints every few minutes; run again with the same folder to go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.nano_examples import (
    CAVEATS,
    SpoofLabel,
    expression_question,
    look_messages,
    spoof_answer,
    spoof_question,
)
from visagent.datasets.routing import CANNOT, RoutingExample, sample_text_example
from visagent.datasets.sources import EXPRESSIONS
from visagent.finetune.expression_teacher import SIDE, ExpressionTeacher, normalise, read
from visagent.finetune.loop import train
from visagent.finetune.nano_model import (
    GRID,
    TOKENS_PER_VIEW,
    VIEW_SIDE,
    build_nano,
    build_processor,
    train_tokenizer,
)
from visagent.finetune.views import ViewSet, open_views, vary_camera
from visagent.finetune.vision_tower import enlarge
from visagent.tools.spoof.network import as_input

Picture: TypeAlias = tuple[str, int]
"""Where a picture comes from: ("view", number) or ("ferplus", number)."""

TOOL_NAMES = ("spoof", "expression", "verify", "faces")
SYSTEM = "You answer questions about faces in pictures."
TEXT_SHARE = 0.40
"""Share of conversations; of the rest 57 % are about live or spoof, 43 % about expressions."""
FIRST_TOKEN = 0.6
"""Weight in the loss of an answer's first token, which decides what kind of answer it is: the same for every answer,
or the short ones (live) would be preferred to the long ones (spoof)."""
CANNED_TOKENS = 8
"""Of an answer that is always the same sentence, most examples show this much: the rest teaches nothing new."""
SPLIT_RATE = 0.08
"""Chance that the tokenizer leaves two parts of a word unjoined, in half of the prompts (BPE dropout): a misspelt word
is read in parts too."""
PICTURES_OF_TALK = 256
"""Conversations show one of this many views: what is in a picture does not matter to routing, and views that a batch
shares are looked at once."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation: ids, where the answer begins, and its pictures in order."""

    ids: tuple[int, ...]
    answer_from: int
    pictures: tuple[Picture, ...]


class Curriculum:
    """Draws examples; the same seed and number give the same example."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        views: ViewSet,
        gray: NDArray[np.uint8],
        votes: NDArray[np.float32],
        live_expressions: NDArray[np.float32],
        text_share: float = TEXT_SHARE,
    ) -> None:
        self._tokenizer = tokenizer
        self._text_share = text_share
        self._views = views
        self._gray = gray
        self._votes = votes
        self._live = np.flatnonzero(views.kinds == 0)
        self._live_expressions = live_expressions
        self._pairs = ways_to_split(tokenizer)
        self._tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": "", "parameters": {}}}
            for name in TOOL_NAMES
        ]

    def example(self, rng: Random) -> Example:
        """One example of the mix."""
        if rng.random() < self._text_share:
            return self._text(sample_text_example(rng), rng)
        return self._spoof(rng) if rng.random() < 0.57 else self._expression(rng)

    def batches(self, seed: int, size: int, pool: int = 48) -> Iterator[list[Example]]:
        """Endless batches of like length."""
        number = 0
        while True:
            rng = Random(f"{seed}-{number}")
            drawn = sorted((self.example(rng) for _ in range(size * pool)), key=lambda example: len(example.ids))
            batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            rng.shuffle(batches)
            yield from batches
            number += 1

    def _spoof(self, rng: Random) -> Example:
        number = rng.randrange(len(self._views))
        question, intent = spoof_question(rng)
        answer = spoof_answer(label_of(self._views, number), intent)
        return self._answered(look_messages(question), answer, (("view", number),))

    def _expression(self, rng: Random) -> Example:
        if rng.random() < 0.65:
            number = rng.randrange(len(self._gray))
            source, shares = "ferplus", self._votes[number]
        else:
            row = rng.randrange(len(self._live))
            number, source, shares = int(self._live[row]), "view", self._live_expressions[row]
        # Drawn in proportion to the (sharpened) votes: then the answer's log-likelihood is a probability.
        weights = shares.astype(np.float64) ** 1.5
        answer = rng.choices(EXPRESSIONS, list(weights))[0]
        return self._answered(look_messages(expression_question(rng)), answer, ((source, number),))

    def _text(self, drawn: RoutingExample, rng: Random) -> Example:
        chat = [with_note(message, rng) for message in drawn.chat()]
        most = min(PICTURES_OF_TALK, len(self._views))
        pictures = tuple(("view", rng.randrange(most)) for _ in range(drawn.pictures))
        text = self._render([{"role": "system", "content": SYSTEM}, *chat], self._tools)
        encoded = self._encode(text, pictures, rng if rng.random() < 0.5 else None)
        if isinstance(drawn.target, str) and drawn.target.endswith(CANNOT) and rng.random() < 0.75:
            return replace(encoded, ids=encoded.ids[: encoded.answer_from + CANNED_TOKENS])
        return encoded

    def _answered(self, messages: list[dict[str, object]], answer: str, pictures: tuple[Picture, ...]) -> Example:
        return self._encode(self._render([*messages, {"role": "assistant", "content": answer}], None), pictures)

    def _render(self, chat: list[Any], tools: list[Any] | None) -> str:
        return str(self._tokenizer.apply_chat_template(chat, tools=tools, tokenize=False))

    def _encode(self, text: str, pictures: tuple[Picture, ...], splitting: Random | None = None) -> Example:
        prompt, answer = text.rstrip("\n").rsplit("<|im_start|>assistant\n", 1)
        prompt = expand_pictures(prompt) + "<|im_start|>assistant\n"
        prompt_ids = self._tokenizer.encode(prompt)
        if splitting:
            prompt_ids = self._split(prompt_ids, splitting)
        return Example((*prompt_ids, *self._tokenizer.encode(answer)), len(prompt_ids), pictures)


    def _split(self, ids: list[int], rng: Random) -> list[int]:
        """Some tokens of several letters replaced by two shorter ones that spell the same."""
        split = []
        for token in ids:
            pair = self._pairs.get(token) if rng.random() < SPLIT_RATE else None
            split += rng.choice(pair) if pair else [token]
        return split


def ways_to_split(tokenizer: PreTrainedTokenizerFast) -> dict[int, list[list[int]]]:
    """For each token of the vocabulary, the pairs of shorter tokens that spell it; those without one are left out."""
    number = {text: token for text, token in tokenizer.get_vocab().items() if not text.startswith("<")}
    found = {}
    for text, token in number.items():
        pairs = [[number[text[:at]], number[text[at:]]] for at in range(1, len(text))
                 if text[:at] in number and text[at:] in number]
        if pairs:
            found[token] = pairs
    return found


def with_note(message: dict[str, object], rng: Random) -> dict[str, object]:
    """A tool's result as the agent hands it on: most have a note after the summary, which an answer leaves out."""
    if message["role"] != "tool" or rng.random() < 0.2:
        return message
    return {**message, "content": f"{message['content']}\nNote: {' '.join(rng.sample(CAVEATS, rng.randint(1, 2)))}"}


def expand_pictures(text: str) -> str:
    """A rendered prompt with each picture's place written out, as the stock processor does it."""
    place = "<fake_token_around_image><global-img>" + "<image>" * TOKENS_PER_VIEW + "<fake_token_around_image>"
    return text.replace("<image>", place)


def label_of(views: ViewSet, number: int) -> SpoofLabel:
    """What is known of one view."""
    kind = int(views.kinds[number])
    if kind == 0:
        return SpoofLabel(None, (), None)
    x1, y1, x2, y2 = (float(value) / VIEW_SIDE for value in views.boxes[number])
    clues = tuple(clue for clue, present in zip(CLUES, views.clues[number], strict=True) if present)
    return SpoofLabel(ATTACK_TYPES[kind - 1], clues, (x1, y1, x2, y2))


def pictures_of(batch: list[Example]) -> list[Picture]:
    """The different pictures of a batch, in the order of their first appearance."""
    return list(dict.fromkeys(picture for example in batch for picture in example.pictures))


def pixels_of(batch: list[Example], views: ViewSet, gray: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """The different pictures of a batch, float32 `[P, 3, 192, 192]`."""
    pictures = pictures_of(batch)
    out = np.empty((len(pictures), VIEW_SIDE, VIEW_SIDE, 3), np.uint8)
    for index, (source, number) in enumerate(pictures):
        if source == "view":
            out[index] = views.pictures(np.array([number]))[0]
        else:
            out[index] = enlarge(gray[number : number + 1], rng)[0]
    return vary_camera(as_input(out), rng)


def training_loss(
    nano: Idefics3ForConditionalGeneration, batch: list[Example], pixels: torch.Tensor, pad: int, device: torch.device
) -> torch.Tensor:
    """Cross-entropy of the answers' tokens, each weighted by one over the square root of its answer's length.

    A plain mean over tokens would be all about long, easy answers; a mean over answers would drown the first word of a
    long one, which decides everything after it. That first token weighs the same in all answers.
    """
    length = max(len(example.ids) for example in batch)
    ids = torch.full((len(batch), length), pad)
    target = torch.full((len(batch), length), -100)
    weight = torch.zeros(len(batch), length)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        target[row, example.answer_from : len(example.ids)] = torch.tensor(example.ids[example.answer_from :])
        weight[row, example.answer_from : len(example.ids)] = (len(example.ids) - example.answer_from) ** -0.5
        weight[row, example.answer_from] = FIRST_TOKEN
    ids, target = ids.to(device), target.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        embedded = nano.model.text_model.get_input_embeddings()(ids)
        if len(pixels):
            everywhere = torch.ones(len(pixels), GRID, GRID, dtype=torch.bool, device=device)
            seen = nano.model.vision_model(pixel_values=pixels.to(device), patch_attention_mask=everywhere)
            tokens = nano.model.connector(seen.last_hidden_state)
            place = {picture: index for index, picture in enumerate(pictures_of(batch))}
            tokens = tokens[[place[picture] for example in batch for picture in example.pictures]]
            embedded = embedded.masked_scatter(
                (ids == nano.config.image_token_id)[..., None], tokens.flatten(0, 1).to(embedded.dtype)
            )
        # Right padding: what comes after an answer cannot be seen by it, so no attention mask is needed.
        hidden = nano.model.text_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        wanted = target[:, 1:] != -100
        logits = nano.lm_head(hidden[:, :-1][wanted])
    losses = nn.functional.cross_entropy(logits.float(), target[:, 1:][wanted], reduction="none")
    return (losses * weight.to(device)[:, 1:][wanted]).sum() / len(batch)


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
    profile = {"view": "face", "box_scale": 1000, "system_prompt": "nano", "answers_with": "findings"}
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
    parser.add_argument(
        "--tower-rate", type=float, default=1e-4, help="learning rate of the tower, once it is released"
    )
    parser.add_argument("--start", type=Path, help="folder of a saved nano to go on from")
    parser.add_argument("--text-share", type=float, default=TEXT_SHARE, help="share of conversations, 0 to 1")
    parser.add_argument(
        "--release-at", type=float, default=0.6, help="share of the steps after which the tower learns too"
    )
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
    nano.to(device)  # type: ignore[arg-type]  # the stubs of transformers' decorator lose the method's own
    tower = list(nano.model.vision_model.parameters())
    others = [p for name, p in nano.named_parameters() if not name.startswith("model.vision_model")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": options.rate}, {"params": tower, "lr": options.tower_rate}],
        weight_decay=0.05,
        betas=(0.9, 0.98),
    )
    batches: Iterator[list[Example]] | None = None

    def loss_of(step: int) -> torch.Tensor:
        nonlocal batches
        batches = batches or curriculum.batches(options.seed + step, options.batch)
        nano.model.vision_model.requires_grad_(step >= options.release_at * options.steps)
        batch = next(batches)
        pixels = pixels_of(batch, views, gray, np.random.default_rng(step))
        return training_loss(nano, batch, pixels, tokenizer.pad_token_id, device)

    def report(_: int) -> str:
        save_nano(nano, tokenizer, options.out / "visagent-nano")
        return "saved"

    train(
        nano,
        [optimizer],
        loss_of,
        steps=options.steps,
        checkpoint=options.out / "checkpoint.safetensors",
        report=report,
        warm_up=0.05,
        minutes=options.minutes_between_checkpoints,
    )


if __name__ == "__main__":
    main()
