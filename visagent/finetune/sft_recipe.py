"""A fine-tuning recipe: one YAML file that says what is trained, how, and for how long.

The values of FaceShield (its fact sheet, section 5) are in the recipes of `visagent/finetune/recipes/`; each can be
copied and changed. An unknown key is an error, so that a typing mistake never passes as a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visagent.errors import SettingsError

RECIPES = Path(__file__).parent / "recipes"
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(_Part):
    """Low-rank matrices beside every linear layer of every transformer block of the language model.

    Attributes:
        rank: Their inner width; a server must be started with `--max-lora-rank` of at least this.
        alpha: They are scaled by `alpha / rank`.
        dropout: Share of their inputs that is dropped in training.
    """

    rank: Annotated[int, Field(ge=1, le=1024)] = 128
    alpha: Annotated[int, Field(ge=1)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05


class Pvtm(_Part):
    """Prompt-guided vision token masking, in training only; see `visagent.finetune.pvtm`.

    Attributes:
        retain: Share of the vision tokens that are never masked, those most like the question.
        mask: Share of the others that are masked.
    """

    retain: Share = 0.10
    mask: Share = 0.05


class Recipe(_Part):
    """What is trained, how, and for how long.

    Attributes:
        name: What the trained adapter or model is called: the name of its folder.
        model: A shipped model's name, a local folder, or a hub id `owner/name@COMMIT`.
        stage: `alignment`: only the projector (and PVTM's vector) learns; `sft`: the language model learns too. The
            vision encoder is frozen in both.
        method: `full`: the weights themselves; `lora`: an adapter; `qlora`: an adapter on a language model held in 4
            bits (nf4).
        lora: The adapter's shape; only with `lora` and `qlora`.
        train_projector: The projector learns beside the adapter. vLLM cannot serve such an adapter by name.
        pvtm: Mask vision tokens in training.
        savp: Every picture is followed by its maps (gray, HOG, LBP) as a second picture.
        rate: Peak of the learning rate.
        projector_rate: The projector's, if it is another one.
        weight_decay: AdamW's.
        warm_up: Share of the steps in which the rate rises; then it falls as a cosine.
        epochs: How often every sample is shown.
        batch: Samples that go through the model together, in each process.
        accumulate: Such batches in one step.
        processes: Processes, each with its own device; what they were started with must agree.
        precision: What the layers compute in; weights that learn are kept in float32.
        gradient_checkpointing: Forget activations and work them out again: less memory, a third more time.
        workers: Processes that read and prepare pictures; 0 prepares them in between.
        evaluate_every: Steps between two looks at the dev split; a checkpoint is written with each.
        dev_samples: At most this many samples of the dev split.
        patience: Stop after this many looks without a lower loss on the dev split; null never stops early.
        seed: Of order, masks, dropout and fresh weights.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
    model: Annotated[str, Field(min_length=1)]
    stage: Literal["alignment", "sft"] = "sft"
    method: Literal["full", "lora", "qlora"]
    lora: Lora | None = None
    train_projector: bool = False
    pvtm: Pvtm | None = None
    savp: bool = False
    rate: Rate = 2e-4
    projector_rate: Rate | None = None
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warm_up: Share = 0.03
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1
    batch: Annotated[int, Field(ge=1)] = 8
    accumulate: Annotated[int, Field(ge=1)] = 1
    processes: Annotated[int, Field(ge=1)] = 1
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = False
    workers: Annotated[int, Field(ge=0)] = 0
    evaluate_every: Annotated[int, Field(ge=1)] = 100
    dev_samples: Annotated[int, Field(ge=1)] = 500
    patience: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _agree(self) -> Recipe:
        if self.method == "full" and self.lora is not None:
            raise ValueError("method full takes no lora")
        if self.stage == "alignment" and self.method != "full":
            raise ValueError("the alignment stage trains the projector itself: its method is full")
        if self.train_projector and self.method == "full":
            raise ValueError("method full trains the projector anyway: leave train_projector out")
        return self

    @property
    def step_samples(self) -> int:
        """Samples in one step, over all processes."""
        return self.batch * self.accumulate * self.processes

    @property
    def adapter(self) -> Lora | None:
        """The adapter's shape, the default one if the recipe gives none; None where the weights themselves learn."""
        return None if self.method == "full" else self.lora or Lora()

    def steps(self, samples: int) -> int:
        """Steps in all, for this many samples; what is left over at the end of an epoch is not shown in it.

        Raises:
            SettingsError: There are fewer samples than one step takes.
        """
        if samples < self.step_samples:
            raise SettingsError(f"One step takes {self.step_samples} samples and there are {samples}; make batch or "
                                "accumulate of the recipe smaller, or give more data.")
        return max(1, round(self.epochs * (samples // self.step_samples)))

    def to_yaml(self) -> str:
        """The recipe with every value written out."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def read_recipe(name_or_file: str | Path) -> Recipe:
    """The recipe of a file, or the shipped one of that name (with or without `.yaml`).

    Raises:
        SettingsError: There is none, it is not YAML, or a key is unknown or out of range.
    """
    file = Path(name_or_file)
    shipped = shipped_recipes()
    if not file.is_file():
        found = shipped.get(file.name.removesuffix(".yaml"))
        if found is None or len(file.parts) > 1:
            raise SettingsError(f"The recipe is neither a file here nor one of the shipped: {', '.join(shipped)}.")
        file = found
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        raise SettingsError("The recipe cannot be read as YAML; see visagent/finetune/recipes for how one looks.") \
            from None
    if not isinstance(values, dict):
        raise SettingsError("The recipe is no list of keys and values; see visagent/finetune/recipes.")
    try:
        return Recipe.model_validate({"name": file.name.removesuffix(".yaml"), **values})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'recipe'}: "
                             f"{problem['msg'].removeprefix('Value error, ')}"
                             for problem in error.errors(include_input=False, include_url=False))
        raise SettingsError(f"The recipe does not hold: {problems}.") from None


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml")) if not path.stem.startswith("accelerate-")}
