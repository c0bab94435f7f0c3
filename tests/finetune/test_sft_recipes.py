"""Every shipped recipe trains: one real step with a tiny model of its family, saved, loaded again, the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from visagent.agent.engines.loading import load_model
from visagent.errors import SettingsError
from visagent.finetune import sft, sft_model
from visagent.finetune.sft_data import Collator, read_split
from visagent.finetune.sft_recipe import RECIPES, Recipe, read_recipe, shipped_recipes
from visagent.settings import Settings

from ..agent.tiny_model import build_tiny_model
from .conftest import sample
from .tiny_families import FAMILIES, save_family

FAMILY_OF = {"visagent-nano": "idefics3", "HuggingFaceTB/SmolVLM-Instruct": "smolvlm",
             "Qwen/Qwen2.5-VL-3B-Instruct": "qwen2.5", "Qwen/Qwen3-VL-2B-Instruct": "qwen3",
             "llava-hf/llava-1.5-7b-hf": "llava"}


@pytest.fixture
def family_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Saves a tiny model of a family; its processor is found where transformers would look for it."""
    def make(family: str) -> Path:
        folder = tmp_path / "tiny" / family
        if family == "idefics3":
            return build_tiny_model(folder)
        processor = save_family(family, folder)
        monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: processor)
        return folder

    return make


@pytest.mark.parametrize("name", shipped_recipes())
def test_it_takes_a_step_and_what_it_saves_is_what_it_learned(
        name: str, spoof_set: Callable[[int], Path], family_folder: Callable[[str], Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_recipe(name)
    folder = family_folder(FAMILY_OF[shipped.model])
    recipe = shipped.model_copy(update={"model": str(folder), "batch": 2, "accumulate": 2, "epochs": 1.0,
                                        "workers": 0, "evaluate_every": 1})
    learners: list[sft_model.Learner] = []
    monkeypatch.setattr(sft, "save_result", lambda learner, *rest: (
        learners.append(learner), sft_model.save_result(learner, *rest)))
    data, settings = spoof_set(4), Settings(device="cpu")

    outcome = sft.fine_tune(recipe, data, tmp_path / "run", settings)

    assert len(outcome.losses) == 1 and math.isfinite(outcome.losses[0][1])
    assert [step for step, _ in outcome.looks] == [0, 1]
    assert outcome.folder == tmp_path / "run" / name
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text()) == recipe.model_dump(mode="json")
    report = (tmp_path / "run" / "report.md").read_text()
    assert "pictures a second" in report and str(tmp_path) not in report.replace(str(folder), "")

    stored_base = sum(value.numel() for value in load_file(folder / "model.safetensors").values())
    assert outcome.all == stored_base + (outcome.learned - 64 * bool(recipe.pvtm) if recipe.adapter else 0)

    four_bit = recipe.method == "qlora"
    base = load_model(Settings(model=str(folder), device="cpu", load_in_4bit=four_bit))
    again = load_model(Settings(model=str(folder), adapter=outcome.folder, device="cpu", load_in_4bit=four_bit)
                       if recipe.adapter else Settings(model=str(outcome.folder), device="cpu"))
    if four_bit:
        for one in (base, again):
            sft_model.keep_unpacked(one.model)  # else they compute in another order than the learner did
    batch = Collator(base.processor, savp=recipe.savp)(list(read_split(data, "dev"))[:2])
    batch.pop("labels")
    with torch.inference_mode():
        learned, reloaded, before = (one.model.eval()(**batch).logits for one in (learners[-1], again, base))
    assert torch.equal(learned, reloaded)
    assert not torch.equal(before, reloaded)

    # Frozen stays frozen: the vision encoder always, the projector where the recipe does not train it.
    moved = {key.replace("base_model.model.", "").replace(".base_layer", "").replace(".modules_to_save.default", "")
             for key, value in learners[-1].model.named_parameters() if value.requires_grad}
    assert not [key for key in moved if "vision" in key or ("visual" in key and "merger" not in key)]
    projector = [key for key in moved if set(key.split(".")) & {"connector", "multi_modal_projector", "merger"}]
    assert bool(projector) == (recipe.method == "full" or recipe.train_projector)
    if recipe.pvtm:
        assert (tmp_path / "run" / sft_model.MASK_VECTOR).is_file()
    if recipe.adapter:
        stored = load_file(outcome.folder / "adapter_model.safetensors")
        layers = base.model.get_decoder().config.num_hidden_layers
        for layer in range(layers):  # LoRA in every transformer block, on all seven linear layers
            assert sum(f".layers.{layer}." in key and "lora_A" in key for key in stored) == 7
        served_by_name = not [key for key in stored if "lora_" not in key]
        assert served_by_name == (not recipe.train_projector)
        assert ("--lora-modules" in report) == served_by_name
        configuration = json.loads((outcome.folder / "adapter_config.json").read_text())
        assert configuration["r"] == recipe.adapter.rank and str(tmp_path) not in json.dumps(configuration)


@pytest.mark.parametrize("family", ["idefics3", *FAMILIES])
def test_exactly_the_answers_are_trained_with_their_end(family: str, family_folder: Callable[[str], Path]) -> None:
    """In a conversation of two turns; what comes before an answer is what the model is given when it is asked."""
    folder = family_folder(family)
    processor: Any = load_model(Settings(model=str(folder), device="cpu")).processor
    answers = ["Spoof: tattoo attack.", "Live."]
    messages = sample(answers)["messages"]
    text, spans = Collator(processor).render([dict(message) for message in messages])
    end = processor.tokenizer.eos_token
    assert [text[start:stop].strip() for start, stop in spans] == [f"{answer}{end}" for answer in answers]

    for number, (start, _) in enumerate(spans):
        asked = processor.apply_chat_template(messages[:2 * number + 1], tokenize=False, add_generation_prompt=True)
        # LLaVA's template ends an answer with nothing, so the end put there is in the earlier turn.
        assert text[:start].replace(end, "") == asked.replace(end, "")


def test_the_recipes_for_accelerate_are_read_by_accelerate() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    for name, kind in (("accelerate-ddp", "MULTI_GPU"), ("accelerate-fsdp", "FSDP")):
        config = load_config_from_file(str(RECIPES / f"{name}.yaml"))
        assert (config.distributed_type.value, config.num_processes, config.mixed_precision) == (kind, 2, "bf16")


def test_the_papers_numbers_are_the_defaults() -> None:
    recipe = Recipe(name="x", model="m", method="lora")
    assert recipe.adapter is not None
    assert (recipe.adapter.rank, recipe.adapter.alpha, recipe.warm_up) == (128, 256, 0.03)
    qwen = read_recipe("faceshield-qwen2.5-vl-3b-qlora.yaml")
    assert qwen.pvtm is not None and (qwen.pvtm.retain, qwen.pvtm.mask) == (0.10, 0.05)
    assert qwen.step_samples == 128


@pytest.mark.parametrize(("text", "says"), [
    ("model: m\nmethod: lora\nrnak: 3\n", "rnak"),
    ("model: m\nmethod: full\nlora: {rank: 4}\n", "takes no lora"),
    ("model: m\nmethod: lora\nstage: alignment\n", "its method is full"),
    ("model: m\nmethod: full\ntrain_projector: true\n", "anyway"),
    ("model: m\nmethod: lora\npvtm: {retain: 1.5}\n", "pvtm.retain"),
    ("model: m\nmethod: lora\nname: ../up\n", "name"),
    ("- a list", "keys and values"),
    ("a: [", "YAML"),
])
def test_a_recipe_that_does_not_hold_is_refused_by_name(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        read_recipe(tmp_path / "mine.yaml")


def test_a_recipe_is_found_by_file_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: visagent-nano\nmethod: lora\n")
    assert read_recipe(tmp_path / "mine.yaml").name == "mine"
    assert read_recipe("faceshield-nano-lora") == read_recipe("faceshield-nano-lora.yaml")
    with pytest.raises(SettingsError, match="faceshield-nano-full"):
        read_recipe("no-such")
    assert Recipe.model_validate(yaml.safe_load(read_recipe("faceshield-llava-qlora").to_yaml())) == \
        read_recipe("faceshield-llava-qlora")
