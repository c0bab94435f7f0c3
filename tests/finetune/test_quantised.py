"""QLoRA on processors: two silent faults of bitsandbytes 0.50 on CPUs with avx512_bf16, and that the guards hold.

A 4-bit layer in eval mode reads a non-contiguous input wrongly (`guard_4bit`); and one pass in eval mode packs its
weights so that no gradient passes any more (`keep_unpacked`). Where a processor lacks avx512_bf16 both pass unguarded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from visagent.agent.engines.loading import guard_4bit, load_model
from visagent.finetune.sft_model import keep_unpacked, make_learnable
from visagent.finetune.sft_recipe import Lora, Recipe
from visagent.settings import Settings

from ..agent.tiny_model import build_tiny_model

bitsandbytes = pytest.importorskip("bitsandbytes")


def four_bit(width: int, out: int) -> Any:
    return bitsandbytes.nn.Linear4bit(width, out, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")


class Projector(nn.Module):
    """LLaVA's: two linear layers, here in 4 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = four_bit(128, 64), four_bit(64, 128)

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.second(nn.functional.gelu(self.first(tokens)))


@pytest.mark.parametrize("rows", [1, 4])
def test_a_quantised_projector_reads_a_view_as_it_reads_a_copy(rows: int) -> None:
    """LLaVA's projector is given the vision tower's tokens without the first: a view with gaps."""
    projector = Projector().eval()
    assert guard_4bit(projector) == 2
    tower = torch.randn(rows, 17, 256)
    view = tower[:, 1:, ::2]
    assert not view.is_contiguous()
    with torch.inference_mode():
        assert torch.allclose(projector(view), projector(view.contiguous()), atol=1e-5)


def gradients(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    model.zero_grad()
    model.train()(**batch).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_look_at_the_dev_split_does_not_stop_the_gradients(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "tiny")
    recipe = Recipe(name="x", model=str(folder), method="qlora", lora=Lora(rank=4, alpha=8, dropout=0))
    loaded = load_model(Settings(model=str(folder), device="cpu", load_in_4bit=True))
    model = make_learnable(loaded.model, recipe)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)  # zeros at first: then nothing would reach lora_A
    ids = torch.randint(10, 300, (2, 12))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before = gradients(model, batch)
    with torch.no_grad():
        model.eval()(**batch)
    after = gradients(model, batch)
    assert before.abs().sum() > 0
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-6 * float(before.abs().max()))


def lets_gradients_through_after_a_look(layer: Any) -> bool:
    with torch.no_grad():
        layer.eval()(torch.randn(2, 128))
    inputs = torch.randn(2, 128, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns once that the kernel has no gradient
        layer.train()(inputs).sum().backward()
    return inputs.grad is not None


def test_what_is_guarded_against_is_still_there() -> None:
    """Tells when a newer bitsandbytes needs no `keep_unpacked` any more; passes on processors without avx512_bf16."""
    plain, guarded = four_bit(128, 64), four_bit(128, 64)
    keep_unpacked(nn.Sequential(guarded))
    assert lets_gradients_through_after_a_look(guarded)
    assert lets_gradients_through_after_a_look(plain) is not bool(plain.support_avx512bf16_for_cpu)
