"""What a model folder says about itself in `visagent.json`: what it wants to see, and how it writes boxes.

```json
{"view": "face", "box_scale": 1000, "system_prompt": "nano", "answers_with": "findings"}
```

All keys are optional. A folder without this file is a stock model: it is shown whole pictures, gets the full system
prompt, and writes boxes as its family does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visagent.agent.prompts import PromptName
from visagent.agent.views import ViewKind
from visagent.errors import WeightsError

FILE = "visagent.json"


class ModelProfile(BaseModel):
    """The content of `visagent.json`.

    Attributes:
        view: `face`: the square view of the biggest face; `picture`: the whole picture.
        box_scale: Boxes are relative, 0 to this number along each side of the view; null if the family decides.
        system_prompt: Name of the system prompt the model was trained with.
        answers_with: `words`: after the tools the model words the answer; `findings`: the findings' summaries are the
            answer, for a model too small to repeat numbers without error.
        tools: Names of the tools that the model was trained to call; null if it can read about any tool.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: ViewKind = "picture"
    box_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    system_prompt: PromptName = "system"
    answers_with: Literal["words", "findings"] = "words"
    tools: tuple[str, ...] | None = None


def read_profile(folder: Path) -> ModelProfile:
    """The profile of a model folder, or the stock one if it has none. Raises WeightsError if it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return ModelProfile()
    try:
        return ModelProfile.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise WeightsError(f"{FILE} in the model's folder cannot be understood; its keys are "
                           f"{', '.join(ModelProfile.model_fields)}.") from error
