"""What learns in supervised fine-tuning, the loss, and what is saved of it.

FaceShield's two stages (its fact sheet, section 5) on any vision-language model of transformers: `alignment` trains
the projector alone, `sft` the language model too, by LoRA in every transformer block or as a whole. The vision encoder
is frozen always.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from visagent.agent.engines.loading import LoadedModel, load_model
from visagent.agent.engines.profile import FILE as PROFILE
from visagent.errors import EngineError, SettingsError
from visagent.finetune.pvtm import TokenMasking, masked_vision_tokens
from visagent.finetune.sft_data import IGNORED
from visagent.finetune.sft_recipe import Lora, Recipe
from visagent.settings import Settings

_PROJECTORS = frozenset({"connector", "deepstack_merger_list", "merger", "mm_projector", "multi_modal_projector"})
MASK_VECTOR = "token_masking.safetensors"


class Learner(nn.Module):
    """The model and, where the recipe masks, PVTM's vector, as one module whose forward pass is the loss."""

    def __init__(self, model: nn.Module, masking: TokenMasking | None) -> None:
        super().__init__()
        self.model, self.masking = model, masking
        # What accelerate's FSDP asks a model for: the blocks that are shared one by one.
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    def forward(self, labels: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """The mean over samples of the mean cross-entropy of an answer's tokens (FaceShield, equation of the loss).

        So every answer counts alike, however long, and a batch may be divided among steps and processes at will.

        Args:
            labels: int64 `[B, L]`, `IGNORED` where a token is no answer's.
            inputs: The model's other inputs.
        """
        targets = labels[:, 1:]
        places = (targets != IGNORED).any(0).nonzero().squeeze(1)
        # Only these places are multiplied by a vocabulary of up to 150,000 words.
        asked = {} if self.masking is None else {"labels": labels}
        logits = self.model(**inputs, **asked, logits_to_keep=places, use_cache=False).logits.float()
        targets = targets[:, places]
        each = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        return (each.sum(1) / (targets != IGNORED).sum(1)).mean()


@contextmanager
def masked_tokens(learner: Learner, not_words: Collection[int]) -> Iterator[None]:
    """Mask vision tokens in training (`visagent.finetune.pvtm`) while the context lasts, if the learner masks at all.

    Args:
        learner: Not yet wrapped for several processes, or what is inside the wrapping.
        not_words: Tokens that are no part of a question.
    """
    if learner.masking is None:
        yield
        return
    inner = inner_model(learner.model)
    with masked_vision_tokens(learner.model, learner.masking, not_words=not_words):
        # The masking must know which tokens are the answer; the model itself would work out a loss of its own.
        hook = inner.register_forward_pre_hook(_without_labels, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def make_learnable(model: Any, recipe: Recipe) -> Any:
    """Freeze the model but for what the recipe trains, and give it its adapter if it has one.

    What learns is kept in float32: steps are smaller than what bfloat16 can tell from nothing.

    Returns:
        The model, or PEFT's model around it.

    Raises:
        EngineError: The parts to train cannot be found in this model.
    """
    model.requires_grad_(False)
    if recipe.method == "qlora":
        keep_unpacked(model)
    if recipe.adapter is not None:
        model = _with_lora(model, recipe.adapter, projectors(model) if recipe.train_projector else [], recipe.seed)
    else:
        for name in projectors(model):
            model.get_submodule(name).requires_grad_(True)
        if recipe.stage == "sft":
            model.get_decoder().requires_grad_(True)
            model.get_output_embeddings().requires_grad_(True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


def inner_model(model: Any) -> Any:
    """The model of transformers inside PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def keep_unpacked(model: nn.Module) -> None:
    """Keep 4-bit weights in the layout that can be trained through.

    On processors with avx512_bf16 bitsandbytes 0.50 packs the weights anew in the first pass in eval mode, for good.
    From then on no gradient passes through them, with one warning by torch and no error: layers before them would
    learn from the residual paths alone.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def projectors(model: nn.Module) -> list[str]:
    """Full names of the modules that lead from the vision encoder into the language model.

    Raises:
        EngineError: None is known by its name.
    """
    found = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in _PROJECTORS]
    if not found:
        raise EngineError(f"No projector is found in this model; known are {', '.join(sorted(_PROJECTORS))}.")
    return found


def optimizer_for(learner: Learner, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with the projector (and PVTM's vector) at its own rate."""
    learned = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    beside = [p for name, p in learned if _PROJECTORS & set(name.split(".")) or name.startswith("masking.")]
    rest = [p for name, p in learned if not any(p is other for other in beside)]
    groups = [{"params": rest, "lr": recipe.rate}, {"params": beside, "lr": recipe.projector_rate or recipe.rate}]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=recipe.weight_decay,
                             betas=(0.9, 0.98))


def masking_for(model: Any, recipe: Recipe, folder: Path) -> TokenMasking | None:
    """PVTM as the recipe wants it, with the vector that an alignment run left beside the model's folder, if any."""
    if recipe.pvtm is None:
        return None
    masking = TokenMasking(model.get_input_embeddings().embedding_dim, retain=recipe.pvtm.retain,
                           mask=recipe.pvtm.mask)
    if (file := folder.parent / MASK_VECTOR).is_file():
        masking.load_state_dict(load_file(file))
    return masking.to(model.device)


def save_result(learner: Learner, learned: Mapping[str, torch.Tensor], loaded: LoadedModel, recipe: Recipe,
                folder: Path) -> None:
    """Write the adapter's folder (PEFT), or the whole model's, as the engines and vLLM load it; the old one goes.

    Args:
        learner: What was trained.
        learned: The values of everything that learns, by the names in `learner`.
        loaded: What was loaded at first.
        recipe: Its recipe.
        folder: Where to.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model: Any = learner.model
    values = {name.removeprefix("model."): value for name, value in learned.items() if name.startswith("model.")}
    if recipe.adapter is not None:
        # No path of this machine; and what looks like a hub id would be looked up there each time it is loaded.
        model.peft_config["default"].base_model_name_or_path = ""
        model.save_pretrained(part, state_dict=values, save_embedding_layers=False)
        (part / "README.md").write_text(_card(loaded, recipe), encoding="utf-8")  # in place of PEFT's empty form
        _save_profile(loaded, part)  # for whoever asks a server for the adapter and names its folder
    else:
        # Names of tied weights must be there too, so the values are put into the whole.
        model.save_pretrained(part, state_dict={**model.state_dict(), **values})
        _save_beside(loaded, part)
    if learner.masking is not None:
        save_file({"vector": learned["masking.vector"].contiguous().cpu()}, folder.parent / MASK_VECTOR)
    for path in part.iterdir():
        path.chmod(0o644)  # a server may run as another user
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _card(loaded: LoadedModel, recipe: Recipe) -> str:
    return (f"---\nlibrary_name: peft\npipeline_tag: image-text-to-text\n---\n# {recipe.name}\n\n"
            f"A LoRA adapter of visagent for {loaded.identity.id} (weights {loaded.identity.digest}). Licence and "
            "limits of the model and of the data it was trained on apply to it. How it was trained, on how much, and "
            f"its loss on held-out samples are in `report.md` of its run.\n\n```yaml\n{recipe.to_yaml()}```\n")


def _without_labels(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
                    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return arguments, {name: value for name, value in named.items() if name != "labels"}


def merge_adapter(settings: Settings, out: Path) -> None:
    """Add an adapter to its model's weights, and save the sum as a model of its own, in the model's precision.

    Args:
        settings: `model` and `adapter`.
        out: The new model's folder.

    Raises:
        SettingsError: The folder exists.
        WeightsError: Model or adapter is missing, or in a refused format.
        EngineError: They do not fit each other.
    """
    if out.exists():
        raise SettingsError("The folder for the merged model exists; give another one.")
    loaded = load_model(settings.model_copy(update={"device": "cpu", "load_in_4bit": False}))
    merged = loaded.model.merge_and_unload()
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    merged.save_pretrained(part)
    _save_beside(loaded, part)
    part.rename(out)


def _save_beside(loaded: LoadedModel, folder: Path) -> None:
    """What belongs to a model's weights: the processor, and what the folder says of itself."""
    loaded.processor.save_pretrained(folder)
    _save_profile(loaded, folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # a server may run as another user


def _save_profile(loaded: LoadedModel, folder: Path) -> None:
    if (profile := loaded.folder / PROFILE).is_file():
        shutil.copy(profile, folder)


def _with_lora(model: Any, shape: Lora, beside: list[str], seed: int) -> Any:
    from peft import LoraConfig, get_peft_model

    decoder = model.get_decoder()
    inside = next(name for name, module in model.named_modules() if module is decoder)
    linear = {name for name, module in decoder.named_modules() if isinstance(module, nn.Linear)}
    if not linear:
        raise EngineError("The language model of this model has no linear layers that an adapter could stand beside.")
    # Full names: 'q_proj' alone would also match layers of the vision encoder, which vLLM does not adapt.
    last = "|".join(sorted({name.rpartition(".")[2] for name in linear}))
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.2x for an attribute by its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        adapted = get_peft_model(model, LoraConfig(
            r=shape.rank, lora_alpha=shape.alpha, lora_dropout=shape.dropout, task_type="CAUSAL_LM",
            target_modules=rf"{re.escape(inside)}\..*\.({last})", modules_to_save=beside or None))
    count = sum(name.endswith(".lora_A.default.weight") for name, _ in adapted.named_parameters())
    if count != len(linear):
        raise EngineError(f"{count} of the {len(linear)} linear layers of the language model got an adapter; this "
                          "model's layers are not as transformers names them.")
    return adapted
