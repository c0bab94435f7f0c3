"""Reading tool calls from what models write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.agent.engines.toolcalls import OPENING, read_answer, visible_prefix

CALL = '<tool_call>{"name": "spoof", "arguments": {"image": "image_1"}}</tool_call>'


@pytest.mark.parametrize("text", [CALL, f"\n{CALL}\n", CALL.removesuffix("</tool_call>"),
                                  CALL.replace('{"image": "image_1"}', '"{\\"image\\": \\"image_1\\"}"')])
def test_a_call_is_read(text: str) -> None:
    message = read_answer(text)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("spoof", {"image": "image_1"})]
    assert message.text == ""


def test_several_calls_and_the_words_around_them() -> None:
    message = read_answer(f"I look.{CALL}{CALL.replace('image_1', 'image_2')}")
    assert [call["args"]["image"] for call in message.tool_calls] == ["image_1", "image_2"]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.text == "I look."


@pytest.mark.parametrize("block", ["{", '{"arguments": {}}', "[]", '{"name": "spoof", "arguments": [1]}', "spoof"])
def test_a_malformed_call_stays_text(block: str) -> None:
    text = f"<tool_call>{block}</tool_call>"
    message = read_answer(text)
    assert message.tool_calls == []
    assert message.text == text


@given(st.text(alphabet="<tol_ca>x ", max_size=40))
def test_while_streaming_no_part_of_a_call_is_shown(text: str) -> None:
    shown = visible_prefix(text)
    assert text.startswith(shown) and OPENING not in shown
    assert not any(shown.endswith(OPENING[:length]) for length in range(1, len(OPENING)))
