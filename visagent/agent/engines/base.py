"""What every engine is: a LangChain chat model that tools may look through, and that can weigh closed answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict

from visagent.agent.boxes import BoxSpace
from visagent.agent.prompts import PromptName, load_prompt
from visagent.agent.toolkit import function_schema
from visagent.agent.views import ViewKind, picture_question
from visagent.evidence import ModelIdentity
from visagent.tools.contract import Look

if TYPE_CHECKING:
    import numpy as np

MAX_ANSWER_TOKENS = 256


class Engine(BaseChatModel):
    """A vision-language model behind one interface.

    Messages in: a system message, user turns whose pictures are content blocks of `views.image_part`, answers with
    `tool_calls`, tool results as text. Message out: words or tool calls.

    Attributes:
        view: What of a picture the model wants to see.
        boxes: How it writes boxes.
        prompt: Its system prompt.
        context_tokens: How many tokens it reads and writes together.
        known_tools: The tools that it was trained to call, where it cannot read about others; None for any.
        hands_on_findings: After the tools the findings' summaries are the answer, and the model is not asked again.
        history_turns: How many turns of a conversation it is shown at most, the present one included.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    view: ViewKind = "picture"
    boxes: BoxSpace = BoxSpace()
    prompt: PromptName = "system"
    context_tokens: int = 8192
    history_turns: int = 20
    hands_on_findings: bool = False
    known_tools: tuple[str, ...] | None = None

    @property
    @abstractmethod
    def identity(self) -> ModelIdentity:
        """Which model this is."""

    @abstractmethod
    def complete(self, messages: Sequence[BaseMessage], *, max_tokens: int = MAX_ANSWER_TOKENS) -> str:
        """The model's plain words, without tools. Raises EngineError."""

    @abstractmethod
    def score(self, messages: Sequence[BaseMessage], options: Sequence[str], *,
              per_token: bool = False) -> list[float]:
        """Log-likelihood of each closed answer, its end-of-turn token included, after the messages.

        Args:
            messages: What comes before the answer.
            options: The answers, not empty.
            per_token: Divide each by its number of tokens, so that long answers are not at a disadvantage.

        Returns:
            One natural logarithm per option, in their order.

        Raises:
            EngineError: The model failed, or the server cannot do this.
        """

    @abstractmethod
    def count_tokens(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
        """Tokens that these messages take, pictures included; an estimate where the model is elsewhere."""

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        """Answer a question about views, each RGB uint8 `[H, W, 3]`; boxes are in pixels of the first view.

        Raises:
            EngineError: The model failed.
        """
        text = self.complete(self._about(question, views), max_tokens=max_tokens)
        if not views:
            return Look(text=text)
        height, width = views[0].shape[:2]
        return self.boxes.read(text, width, height)

    def score_options(self, question: str, views: Sequence[np.ndarray], options: Sequence[str]) -> list[float]:
        """Log-likelihood of each option as the whole answer, from one prefill. Raises EngineError."""
        return self.score(self._about(question, views), options)

    def system_prompt(self) -> str:
        """The words of this model's system prompt."""
        return load_prompt(self.prompt)

    def close(self) -> None:
        """Let go of what the engine holds open."""

    def bind_tools(self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], *,
                   tool_choice: str | None = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """This engine with the tools' schemas given to every call. The signature is LangChain's."""
        return self.bind(tools=[_schema_of(tool) for tool in tools])

    def _about(self, question: str, views: Sequence[np.ndarray]) -> list[BaseMessage]:
        return [SystemMessage(self.system_prompt()), picture_question(question, views)]


def _schema_of(tool: object) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    if isinstance(tool, BaseTool) and isinstance(tool.args_schema, type) and issubclass(tool.args_schema, BaseModel):
        return function_schema(tool.name, tool.description, tool.args_schema)
    raise TypeError("an engine takes tools made by visagent.agent.toolkit, or their schemas")
