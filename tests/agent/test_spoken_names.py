"""Names in calls are copied: whatever the model's scores say, what it writes stands in the person's words."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from visagent.agent.engines.spoken_names import NamesAsSaid, SpokenText, TokenBytes
from visagent.agent.engines.toolcalls import read_answer
from visagent.weights import locate

BEGUN = '<tool_call>{"name": "forget", "arguments": {"person": "'
QUESTIONS = [
    "Put this one down as Margarethe Oyelaran, please.", "forget momo", "José Ñuñez has left",
    'Keep "K. Petrenko" here',
    "Would you kindly register Mr. Takahashi from this portrait?", "Anneliese Vogt's data must go", "伟 王 left us",
    "back\\slash Tom", "two\nlines of Ada Lovelace\tand tabs",
]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(locate("visagent-nano"))


@cache
def tokens() -> TokenBytes:
    return TokenBytes(tokenizer())


def write(question: str, seed: int, begun: str = BEGUN, most: int = 60) -> str:
    """What a model with random scores writes after `begun`; the closing of a call is favoured once a name may end."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.tensor([tokenizer().encode("<|im_start|>assistant\n")])
    processor = NamesAsSaid(tokens(), [SpokenText([question])])
    ids = prompt
    processor(ids, torch.zeros(1, len(tokenizer())))
    ids = torch.cat([ids, torch.tensor([tokenizer().encode(begun)])], 1)
    closing = tokenizer().encode('"}}')[:1]
    for _ in range(most):
        scores = torch.rand(1, len(tokenizer()), generator=generator)
        scores[0, closing] += 0.9
        chosen = processor(ids, scores).argmax(1, keepdim=True)
        ids = torch.cat([ids, chosen], 1)
        if chosen.item() == closing[0]:
            break
    return tokens().spell(ids[0, prompt.shape[1]:].tolist()).decode(errors="replace")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(QUESTIONS), st.integers(0, 10_000))
def test_a_model_without_sense_still_copies(question: str, seed: int) -> None:
    written = write(question, seed)
    name = re.search(r'"person": "([^"]*)', written)
    assert name is not None
    said = " ".join(question.split())
    assert name.group(1).strip() != "" and name.group(1).strip() in said
    begins = re.compile(rf"(?<!\w){re.escape(name.group(1).strip())}(?!\w)")  # a name, or a word where there is none
    assert begins.search(said), "a name begins and ends where a word does"


@pytest.mark.parametrize(("begun", "may_end"), [
    ("", False), (" ", False), ("Mr", False), (" Mr.", False), (" Mr. Takahashi", True), ("Taka", False),
    (" Takahashi from", True), (" nobody", False),
])
def test_where_a_name_may_end(begun: str, may_end: bool) -> None:
    said = SpokenText(["Would you register Mr. Takahashi from this portrait?"])
    assert said.continuations(begun.encode())[1] is may_end


@pytest.mark.parametrize(("text", "begun", "may_end"), [
    ("Put her down as Margarethe Oyelaran, please.", " Margarethe", False), ("Forget Tom. He left.", " Tom", True),
    ("forget Tom I said", " Tom", True), ("enrol Ann ASAP", " Ann", True), ("this is ann Lee", " ann", True),
    ("Mary-Jane O'Neill left", "Mary-Jane", False), ("Mary-Jane O'Neill left", "Mary-Jane O'Neill", True),
])
def test_a_name_is_copied_whole(text: str, begun: str, may_end: bool) -> None:
    assert SpokenText([text]).continuations(begun.encode())[1] is may_end


def test_no_name_begins_with_a_pronoun() -> None:
    following, _ = SpokenText(["Bjorn is who you see here. Keep him in the register."]).continuations(b" ")
    assert {b"Bjorn", b"register"} <= following and not following & {b"him", b"the", b"is"}


def test_what_may_follow_is_what_stands_there() -> None:
    following, _ = SpokenText(["Forget Ann Lee, not Anna."]).continuations(b" Ann")
    assert {b" ", b" Lee", b"a", b"a."} <= following and b"e" not in following


def test_a_name_that_a_finding_gave_can_be_copied_too() -> None:
    following, may_end = SpokenText(["forget her", "Ada Lovelace"]).continuations(b" Ada Love")
    assert b"lace" in following and not may_end


@pytest.mark.parametrize("begun", [
    "I see person: ", '{"person": "', '<tool_call>{"name": "spoof", "arguments": {"image": "'])
def test_everything_else_is_left_to_the_model(begun: str) -> None:
    processor = NamesAsSaid(tokens(), [SpokenText(["Forget Ada."])])
    scores = torch.rand(1, len(tokenizer()))
    prompt = torch.tensor([tokenizer().encode("<|im_start|>assistant\n")])
    assert torch.equal(processor(prompt, scores.clone()), scores)
    later = torch.cat([prompt, torch.tensor([tokenizer().encode(begun)])], 1)
    assert torch.equal(processor(later, scores.clone()), scores)


def test_rows_of_a_batch_have_their_own_words() -> None:
    processor = NamesAsSaid(tokens(), [SpokenText(["Forget Ada."]), SpokenText(["Forget Bob."])])
    prompt = torch.tensor([tokenizer().encode("<|im_start|>assistant\n")] * 2)
    processor(prompt, torch.zeros(2, len(tokenizer())))
    later = torch.cat([prompt, torch.tensor([tokenizer().encode(f"{BEGUN} ")] * 2)], 1)
    scores = processor(later, torch.zeros(2, len(tokenizer())))
    letters = [{tokens().spelling[token][:1] for token in row.isfinite().nonzero().flatten().tolist()}
               for row in scores]
    assert letters == [{b"F", b"A"}, {b"F", b"B"}]


def test_without_words_nothing_is_forbidden() -> None:
    processor = NamesAsSaid(tokens(), [SpokenText([""])])
    prompt = torch.tensor([tokenizer().encode("<|im_start|>assistant\n")])
    processor(prompt, torch.zeros(1, len(tokenizer())))
    later = torch.cat([prompt, torch.tensor([tokenizer().encode(BEGUN)])], 1)
    assert processor(later, torch.zeros(1, len(tokenizer()))).isfinite().all()


def test_a_copied_call_is_read_back() -> None:
    call = read_answer(f"{BEGUN} José Ñuñez" + '"}}</tool_call>').tool_calls[0]
    assert json.dumps(call["args"], ensure_ascii=False) == '{"person": " José Ñuñez"}'


def test_a_vocabulary_of_pieces_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    pieces = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"▁Ada": 0, "[UNK]": 1}, "[UNK]")))
    with pytest.raises(ValueError, match="not spelt in bytes"):
        TokenBytes(pieces)
