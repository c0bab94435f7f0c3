"""The prompts, word for word: a change is a decision."""

from __future__ import annotations

import hashlib

from visagent.agent.prompts import CAPABILITIES, load_prompt


def test_nanos_prompt_is_the_one_it_was_trained_with() -> None:
    assert load_prompt("nano") == "You answer questions about faces in pictures."


def test_the_system_prompt_is_unchanged() -> None:
    # If this fails you changed the prompt: ask the routing questions again, then write the new digest here.
    assert hashlib.sha256(load_prompt("system").encode()).hexdigest()[:16] == "f734fe149d61c8cf"


def test_the_system_prompt_gives_the_off_topic_answer_word_for_word() -> None:
    assert CAPABILITIES in load_prompt("system")
