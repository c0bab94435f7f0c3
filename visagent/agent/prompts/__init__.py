"""The words that the agent says to models and people, as files: a change of a prompt is a reviewed diff."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

PromptName = Literal["system", "nano"]

CAPABILITIES = (
    "I answer questions about faces in pictures: whether a face is live or a spoof, what expression it shows, whether "
    "two pictures show the same person, who of the enrolled people it is, and how many faces there are, where, and "
    "how good the picture is. I also enrol and forget people, and tell whether match scores drift or differ between "
    "groups."
)
"""The honest answer to anything off topic; visagent-nano is trained to give it word for word."""

NO_EVIDENCE = "I have no finding to answer that from. Attach a picture, or name one that is here, and ask again."
"""What stands in for an answer that claims something about a face although no tool looked."""


def load_prompt(name: PromptName) -> str:
    """The system prompt of that name, without the file's final line break."""
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()
