"""What visagent-nano is shown: exercises, each one beginning (pictures, earlier turns) and questions that may follow.

Three kinds: questions about a face view (live or attacked) answered from its labels, expression questions (FER+
pictures with the annotators' votes, live views with the teacher's), and conversations with tool calls. Questions that
share their beginning are written in one sequence, so that it is read once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.conversation import ASKING_TOOLS, TOOL_NAMES, RoutingExample
from visagent.datasets.nano_examples import (
    CAVEATS,
    SpoofLabel,
    expression_question,
    look_messages,
    spoof_answer,
    spoof_question,
)
from visagent.datasets.routing import CANNOT, sample_family
from visagent.datasets.sources import EXPRESSIONS
from visagent.finetune.nano_model import TOKENS_PER_VIEW
from visagent.finetune.views import ViewSet
from visagent.vision.crop import VIEW_SIDE

Picture: TypeAlias = tuple[str, int]
"""Where a picture comes from: ("view", number), ("ferplus", number), or ("talk", number)."""

SYSTEM = "You answer questions about faces in pictures."
TEXT_SHARE = 0.40
"""Share of conversations; of the rest 57 % are about live or spoof, 43 % about expressions."""
FAMILY = 4
"""Conversations that are drawn together, with the same earlier turns."""
MOST_ENDINGS = 4
"""Questions in one sequence; more would save tokens, but what a token sees of the sequence gets longer."""
QUESTIONS_PER_PICTURE = 2
LIVE_SHARE = 0.57
"""Share of live faces among the views that live or spoof is asked about. Half of the packed views are live; a little
more, because a false alarm costs a person's trust and the words, unlike the specialist's score, have no threshold."""
NAME_PLACE = 5
"""The tool's name begins so many tokens after the beginning of a call: `{"`, `name`, `":`, ` "`."""
CANNED_TOKENS = 8
"""Of an answer that is always the same sentence, most examples show this much: the rest teaches nothing new."""
SPLIT_RATE = 0.08
"""Chance that the tokenizer leaves two parts of a word unjoined, in half of the questions (BPE dropout): a misspelt
word is read in parts too."""
FORGET_RATE = 0.04
"""Chance that a part of a word is left out, in the same questions; single letters, digits and marks stay."""
FEWER_TOOLS_SHARE = 0.35
"""Share of the conversations in which the tools that ask first are not on offer, as where nobody can be asked."""
PICTURES_OF_TALK = 256
"""Conversations show some of this many views: what is in a picture does not matter to routing, and what the tower sees
in these few is worked out once."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A question and its answer, tokenised.

    Attributes:
        ids: The tokens of both.
        answer_from: Where the answer begins.
        deciding: Places in `ids` where a tool call could go on otherwise: which tool, which picture, one more or not.
    """

    ids: tuple[int, ...]
    answer_from: int
    deciding: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Exercise:
    """One tokenised beginning, its pictures in order, and the questions that may follow it, each on its own."""

    beginning: tuple[int, ...]
    pictures: tuple[Picture, ...]
    endings: tuple[Ending, ...]

    def __len__(self) -> int:
        return len(self.beginning) + sum(len(ending.ids) for ending in self.endings)


class Curriculum:
    """Draws exercises; the same seed gives the same ones."""

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
        self._attacked = np.flatnonzero(views.kinds != 0)
        self._live_expressions = live_expressions
        self._pairs = ways_to_split(tokenizer)
        words = tokenizer.get_vocab()
        self._choices = frozenset(words[name] for name in (*TOOL_NAMES, *"1234") if name in words)
        self._call_begin, self._call_end = words["<tool_call>"], words["</tool_call>"]
        self._turn_end = words["<|im_end|>"]
        self._tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": "", "parameters": {}}}
            for name in TOOL_NAMES
        ]
        self._fewer_tools = [tool for tool in self._tools if tool["function"]["name"] not in ASKING_TOOLS]

    def batches(self, seed: int, size: int, pool: int = 48) -> Iterator[list[Exercise]]:
        """Endless batches of about `size` questions each, their sequences of like length."""
        number = 0
        while True:
            rng = Random(f"{seed}-{number}")
            batches: list[list[Exercise]] = [[]]
            for exercise in sorted(self.exercises(rng, size * pool), key=len):
                if sum(len(one.endings) for one in batches[-1]) >= size:
                    batches.append([])
                batches[-1].append(exercise)
            rng.shuffle(batches)
            yield from batches
            number += 1

    def exercises(self, rng: Random, questions: int) -> list[Exercise]:
        """Exercises with about this many questions in the shares of the mix."""
        drawn: list[Exercise] = []
        told: dict[str, list[Ending]] = {}
        count = 0
        text_weight = self._text_share / FAMILY
        text_weight /= text_weight + (1 - self._text_share) / QUESTIONS_PER_PICTURE
        while count < questions:
            if rng.random() < text_weight:
                family = sample_family(rng, FAMILY)
                for example in family:
                    beginning, ending = self.conversation(example, rng)
                    told.setdefault(beginning, []).append(ending)
                count += len(family)
            else:
                drawn.append(self._spoof(rng) if rng.random() < 0.57 else self._expression(rng))
                count += QUESTIONS_PER_PICTURE
        most = min(PICTURES_OF_TALK, len(self._views))
        for beginning, endings in told.items():
            for start in range(0, len(endings), MOST_ENDINGS):
                pictures = tuple(("talk", rng.randrange(most)) for _ in range(beginning.count("<image>")))
                drawn.append(self.exercise(beginning, pictures, endings[start : start + MOST_ENDINGS]))
        return drawn

    def exercise(self, beginning: str, pictures: tuple[Picture, ...], endings: list[Ending]) -> Exercise:
        """Questions that follow a rendered beginning."""
        return Exercise(tuple(self._tokenizer.encode(expand_pictures(beginning))), pictures, tuple(endings))

    def conversation(self, example: RoutingExample, rng: Random) -> tuple[str, Ending]:
        """A conversation as its rendered beginning and its last question with the answer."""
        chat = [with_note(message, rng) for message in example.chat()]
        tools = self._tools
        used = {call["function"]["name"] for message in chat for call in message.get("tool_calls") or ()}  # type: ignore[attr-defined]
        if rng.random() < FEWER_TOOLS_SHARE and not used & set(ASKING_TOOLS):
            tools = self._fewer_tools
        rendered = self._render([{"role": "system", "content": SYSTEM}, *chat], tools)
        beginning, ending = self._divide(rendered, rng if rng.random() < 0.5 else None)
        if not isinstance(example.target, str):
            return beginning, replace(ending, deciding=self._deciding(ending))
        if example.target.endswith(CANNOT) and rng.random() < 0.75:
            return beginning, replace(ending, ids=ending.ids[: ending.answer_from + CANNED_TOKENS])
        return beginning, ending

    def look(self, question: str, answer: str) -> tuple[str, Ending]:
        """A question about one view, asked as the tools ask it, as its beginning and the rest."""
        return self._divide(self._render([*look_messages(question), {"role": "assistant", "content": answer}], None))

    def _spoof(self, rng: Random) -> Exercise:
        among = self._live if rng.random() < LIVE_SHARE else self._attacked
        number = int(rng.choice(among))
        endings = []
        for _ in range(QUESTIONS_PER_PICTURE):
            question, intent = spoof_question(rng)
            beginning, ending = self.look(question, spoof_answer(label_of(self._views, number), intent))
            endings.append(ending)
        return self.exercise(beginning, (("view", number),), endings)

    def _expression(self, rng: Random) -> Exercise:
        if rng.random() < 0.65:
            number = rng.randrange(len(self._gray))
            source, shares = "ferplus", self._votes[number]
        else:
            row = rng.randrange(len(self._live))
            number, source, shares = int(self._live[row]), "view", self._live_expressions[row]
        # Drawn in proportion to the (sharpened) votes: then the answer's log-likelihood is a probability.
        weights = list(shares.astype(np.float64) ** 1.5)
        endings = []
        for _ in range(QUESTIONS_PER_PICTURE):
            beginning, ending = self.look(expression_question(rng), rng.choices(EXPRESSIONS, weights)[0])
            endings.append(ending)
        return self.exercise(beginning, ((source, number),), endings)

    def _render(self, chat: list[Any], tools: list[Any] | None) -> str:
        return str(self._tokenizer.apply_chat_template(chat, tools=tools, tokenize=False))

    def _divide(self, rendered: str, splitting: Random | None = None) -> tuple[str, Ending]:
        """Cut a rendered chat before the words of its last question, and tokenise these and the answer."""
        prompt, answer = rendered.rstrip("\n").rsplit("<|im_start|>assistant\n", 1)
        turn = prompt.rindex("<|im_start|>user\n") + len("<|im_start|>user\n")
        at = max(turn, prompt.rfind("<image>") + len("<image>"))
        question = self._tokenizer.encode(prompt[at:] + "<|im_start|>assistant\n")
        if splitting:
            question = self._split(self._forget(question, splitting), splitting)
        return prompt[:at], Ending((*question, *self._tokenizer.encode(answer)), len(question))

    def _deciding(self, ending: Ending) -> tuple[int, ...]:
        """Where the answer names a tool or a picture, and where a call may be followed by another."""
        answer = range(ending.answer_from, len(ending.ids))
        return tuple(at for at in answer if ending.ids[at] in self._choices or ending.ids[at - 1] == self._call_end
                     or (at >= NAME_PLACE and ending.ids[at - NAME_PLACE] == self._call_begin))

    def _split(self, ids: list[int], rng: Random) -> list[int]:
        """Some tokens of several letters replaced by two shorter ones that spell the same."""
        split = []
        for token in ids:
            pair = self._pairs.get(token) if rng.random() < SPLIT_RATE else None
            split += rng.choice(pair) if pair else [token]
        return split

    def _forget(self, ids: list[int], rng: Random) -> list[int]:
        """A few tokens of several letters left out of what the person wrote, up to the end of the turn."""
        end = ids.index(self._turn_end)
        said = [token for token in ids[:end] if token not in self._pairs or rng.random() >= FORGET_RATE]
        return said + ids[end:]


def ways_to_split(tokenizer: PreTrainedTokenizerFast) -> dict[int, list[list[int]]]:
    """For each token of the vocabulary, the pairs of shorter tokens that spell it; those without one are left out."""
    number = {text: token for text, token in tokenizer.get_vocab().items() if not text.startswith("<")}
    found = {}
    for text, token in number.items():
        pairs = [
            [number[text[:at]], number[text[at:]]]
            for at in range(1, len(text))
            if text[:at] in number and text[at:] in number
        ]
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
