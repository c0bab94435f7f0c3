"""Token masking hides exactly the share asked for, never the tokens that matter most, and only in training."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visagent.errors import EngineError
from visagent.finetune.pvtm import TokenMasking, choose_masked, masked_count, masked_vision_tokens

PICTURE, WIDTH = 5, 32
PERCENT = st.integers(0, 100)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(tokens=st.integers(0, 1500), retain=PERCENT, mask=PERCENT)
def test_the_count_is_the_papers_formula_in_exact_arithmetic(tokens: int, retain: int, mask: int) -> None:
    kept = ceil(Fraction(retain, 100) * tokens)
    exact = Fraction(mask, 100) * (tokens - kept)
    assert abs(masked_count(tokens, retain / 100, mask / 100) - exact) <= Fraction(1, 2)


def test_the_papers_numbers() -> None:
    """1458 tokens, k = 10 %, p = 5 %: 146 protected, 1312 candidates, 66 masked."""
    assert masked_count(1458, 0.10, 0.05) == 66
    assert masked_count(100, 0.07, 1.0) == 93  # 0.07 * 100 is over 7 in binary


@given(scores=st.lists(st.floats(-1, 1, width=32), max_size=80), retain=PERCENT, mask=PERCENT, seed=st.integers(0, 99))
def test_only_what_ranks_low_is_masked_in_the_exact_number(
    scores: list[float], retain: int, mask: int, seed: int
) -> None:
    values = torch.tensor(scores)
    chosen = choose_masked(values, retain=retain / 100, mask=mask / 100, generator=generator(seed))
    kept = ceil(Fraction(retain, 100) * len(scores))
    assert chosen.sum() == masked_count(len(scores), retain / 100, mask / 100)
    if retain == 100 or mask == 0:
        assert not chosen.any()
    if mask == 100:
        assert chosen.sum() == len(scores) - kept
    if chosen.any() and kept:
        assert values[chosen].max() <= values.sort(descending=True).values[kept - 1]
    again = choose_masked(values, retain=retain / 100, mask=mask / 100, generator=generator(seed))
    assert torch.equal(chosen, again)


def test_candidates_are_drawn_evenly_and_protected_tokens_never() -> None:
    scores, draw = torch.linspace(1, -1, 50), generator()
    hits = sum(choose_masked(scores, retain=0.2, mask=0.25, generator=draw).long() for _ in range(2000))
    assert isinstance(hits, torch.Tensor)
    assert hits[:10].sum() == 0
    assert hits[10:].float().std() / hits[10:].float().mean() < 0.06  # 500 hits each; binomial spread is 0.04
    assert hits[10:].sum() == 2000 * 10


@pytest.mark.parametrize(("retain", "mask"), [(-0.1, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 2.0)])
def test_shares_outside_0_to_1_are_refused(retain: float, mask: float) -> None:
    with pytest.raises(ValueError, match="shares"):
        TokenMasking(4, retain=retain, mask=mask)


def ragged_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three samples: two pictures of 12 tokens, one, none; a question of 6 tokens each."""
    embedded = torch.randn(3, 30, 8, generator=generator(3))
    vision, question = torch.zeros(3, 30, dtype=torch.bool), torch.zeros(3, 30, dtype=torch.bool)
    vision[0, :24] = vision[1, :12] = True
    question[:, 24:] = True
    return embedded, vision, question


def test_tokens_of_all_pictures_of_a_sample_are_ranked_in_one_list_by_cosine() -> None:
    embedded, vision, question = ragged_batch()
    asked = embedded[0, 24:].mean(0)
    embedded[0, 3:8] = asked * torch.tensor([[4.0], [0.01], [2.0], [0.5], [1.0]])  # cosine 1, whatever their length
    embedded[0, 12:24] = embedded[0, 12:24] - 3 * asked  # nothing of the second picture is alike
    masking = TokenMasking(8, retain=5 / 24, mask=1.0)
    chosen = masking.choose(embedded, vision, question)
    assert chosen[0, :24].logical_not().nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert chosen[1].sum() == masked_count(12, 5 / 24, 1.0)
    assert not chosen[2].any() and not (chosen & ~vision).any()


def test_masked_tokens_become_the_vector_and_all_others_keep_their_place() -> None:
    embedded, vision, question = ragged_batch()
    masking = TokenMasking(8, retain=0.1, mask=0.5, seed=4)
    with torch.no_grad():
        masking.vector.fill_(7.0)
    out = masking(embedded, vision, question)
    masking.reseed(4)
    chosen = masking.choose(embedded, vision, question)
    assert out.shape == embedded.shape and chosen[:2].any(1).all()
    assert (out[chosen] == 7.0).all()
    assert torch.equal(out[~chosen], embedded[~chosen])


def test_the_vector_begins_as_zeros_and_learns_from_masked_tokens_only() -> None:
    embedded, vision, question = ragged_batch()
    embedded.requires_grad_(True)
    masking = TokenMasking(8, mask=0.5)
    assert not masking.vector.any()
    masking(embedded, vision, question).sum().backward()
    masking.reseed(0)
    chosen = masking.choose(embedded, vision, question)
    assert masking.vector.grad is not None and embedded.grad is not None
    assert torch.allclose(masking.vector.grad, torch.full((8,), float(chosen.sum())))
    assert not embedded.grad[chosen].any() and (embedded.grad[~chosen] == 1).all()


def test_in_eval_mode_nothing_changes_unless_asked() -> None:
    batch = ragged_batch()
    assert TokenMasking(8, mask=0.5).eval()(*batch) is batch[0]
    assert (TokenMasking(8, mask=0.5, mask_at_eval=True).eval()(*batch) != batch[0]).any()


def test_the_same_seed_masks_the_same_tokens() -> None:
    batch, masking = ragged_batch(), TokenMasking(8, mask=0.5, seed=1)
    first, second = masking.choose(*batch), masking.choose(*batch)
    masking.reseed(1)
    assert torch.equal(first, masking.choose(*batch)) and not torch.equal(first, second)


def test_pictures_without_a_question_are_refused() -> None:
    embedded, vision, question = ragged_batch()
    question[1] = False
    with pytest.raises(ValueError, match="no words"):
        TokenMasking(8)(embedded, vision, question)


def text_part(kind: str) -> dict[str, Any]:
    """A language model of two layers; those of Qwen-VL place tokens in three directions."""
    part = dict(vocab_size=64, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, head_dim=16, max_position_embeddings=256, pad_token_id=0)
    if kind != "plain":
        part["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    return part


def tiny(family: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A model of the family with random weights, and a batch: two pictures of 4 tokens, one of 4 tokens.

    Inputs are made by hand: the processors of SmolVLM and Qwen-VL need torchvision.
    """
    import transformers

    hub: Any = transformers
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    if family in ("Idefics3", "SmolVLM"):
        text = hub.LlamaConfig(**text_part("plain"))
        config = getattr(hub, f"{family}Config")(
            vision_config={**small, "image_size": 16, "patch_size": 4}, text_config=text, scale_factor=2,
            image_token_id=PICTURE, pad_token_id=0)
        pixels = {"pixel_values": torch.randn(2, 2, 3, 16, 16)}
        pixels["pixel_values"][1, 1] = 0  # a picture of zeros only is filling
    elif family == "Llava":
        config = hub.LlavaConfig(
            vision_config=hub.SiglipVisionConfig(**small, image_size=8, patch_size=4),
            text_config=hub.LlamaConfig(**text_part("plain")), image_token_id=PICTURE,
            vision_feature_select_strategy="full", vision_feature_layer=-1)
        pixels = {"pixel_values": torch.randn(3, 3, 8, 8)}
    else:
        special = {"image_token_id": PICTURE, "video_token_id": 6, "vision_start_token_id": 7,
                   "vision_end_token_id": 8}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4,
                  "spatial_merge_size": 2, "temporal_patch_size": 1, "out_hidden_size": WIDTH}
        if family == "Qwen2_5_VL":
            vision |= {"window_size": 16, "fullatt_block_indexes": [1]}
        else:
            vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
        config = getattr(hub, f"{family}Config")(vision_config=vision, text_config=text_part("mrope"), **special)
        pixels = {"pixel_values": torch.randn(3 * 16, 3 * 16), "image_grid_thw": torch.tensor([[1, 4, 4]] * 3)}
    model = getattr(hub, f"{family}ForConditionalGeneration")(config)
    words, answer, picture, end = [20, 21, 22], [30, 31, 32, 33], [PICTURE] * 4, [9]
    rows = [[*picture, *end, *picture, *words, *answer], [0] * 5 + [*picture, *words, *answer]]
    ids = torch.tensor(rows)
    labels = ids.clone()
    labels[:, : -len(answer)] = -100
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels, **pixels}
    if family.startswith("Qwen"):
        batch["mm_token_type_ids"] = (ids == PICTURE).int()
    return model, batch


FAMILIES = ["Idefics3", "SmolVLM", "Llava", "Qwen2_5_VL", "Qwen3VL"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stock_model_of_every_family_trains_with_masked_tokens(family: str) -> None:
    model, batch = tiny(family)
    entered: list[dict[str, Any]] = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, arguments, named: entered.append(dict(named)), with_kwargs=True)
    masking = TokenMasking(WIDTH, retain=0.25, mask=0.5)
    optimizer = torch.optim.SGD([*model.parameters(), *masking.parameters()], lr=0.1)
    model.train()
    model(**batch)
    hook.remove()
    with masked_vision_tokens(model, masking):
        hook = model.get_decoder().register_forward_pre_hook(
            lambda module, arguments, named: entered.append(dict(named)), with_kwargs=True)
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    hook.remove()
    plain, masked = (call["inputs_embeds"] for call in entered)
    changed = (plain != masked).any(-1)
    assert torch.isfinite(loss) and masking.vector.any()
    assert changed.sum(1).tolist() == [masked_count(8, 0.25, 0.5), masked_count(4, 0.25, 0.5)]
    assert (batch["input_ids"][changed] == PICTURE).all() and not masked[changed].any()
    if family == "Qwen3VL":
        for before, after in zip(*(call["deepstack_visual_embeds"] for call in entered), strict=True):
            hidden = changed[batch["input_ids"] == PICTURE]
            assert before.any(1).all() and not after[hidden].any()
            assert torch.equal(before[~hidden], after[~hidden])


@pytest.mark.parametrize("family", ["Idefics3", "Qwen3VL"])
def test_eval_mode_and_the_end_of_the_context_leave_the_stock_model(family: str) -> None:
    model, batch = tiny(family)
    names = set(model.state_dict())
    model.eval()
    with torch.no_grad():
        stock = model(**batch).logits
        masking = TokenMasking(WIDTH, mask=0.9)
        with masked_vision_tokens(model, masking):
            assert torch.equal(model(**batch).logits, stock)
            assert set(model.state_dict()) == names
            masking.mask_at_eval = True
            assert not torch.equal(model(**batch).logits, stock)
        assert torch.equal(model(**batch).logits, stock)


@pytest.mark.parametrize(("places", "token", "matters"), [
    ((slice(None), slice(-4, None)), 45, False),
    ((1, slice(0, 5)), 47, False),
    ((0, slice(4, 5)), 10, False),
    ((slice(None), slice(9, 12)), 45, True),
], ids=["answer", "filling", "special token", "question"])
def test_only_the_words_of_the_question_choose_what_is_masked(places: Any, token: int, matters: bool) -> None:
    """At inference there is no answer yet: other answers must leave the same tokens masked."""
    model, batch = tiny("Idefics3")
    other = {**batch, "input_ids": batch["input_ids"].clone()}
    other["input_ids"][places] = token
    with torch.no_grad():
        model.get_input_embeddings().weight[[10, 45, 47]] *= 30
    seen: list[torch.Tensor] = []
    with masked_vision_tokens(model.train(), TokenMasking(WIDTH, retain=0.5, mask=1.0), not_words=[9, 10]):
        hook = model.get_decoder().register_forward_pre_hook(
            lambda module, arguments, named: seen.append((named["inputs_embeds"] == 0).all(-1)), with_kwargs=True)
        model(**batch)
        model(**other)
        hook.remove()
    masked = [places & (batch["input_ids"] == PICTURE) for places in seen]
    assert masked[0].sum() == 6 and torch.equal(*masked) is not matters


# PEFT 0.21 asks transformers 5.2x for an attribute by its old name.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_it_works_through_lora_and_while_generating() -> None:
    from peft import LoraConfig, get_peft_model

    model, batch = tiny("Idefics3")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    masking = TokenMasking(WIDTH, mask=0.5, mask_at_eval=True)
    with masked_vision_tokens(adapted, masking):
        adapted.train()
        adapted(**batch).loss.backward()
        assert masking.vector.grad is not None and masking.vector.grad.any()
        asked = {name: value for name, value in batch.items() if name != "labels"}
        assert adapted.eval().generate(**asked, max_new_tokens=3, do_sample=False).shape == (2, 19)


def test_without_token_ids_masking_says_what_it_needs() -> None:
    model, batch = tiny("Idefics3")
    states = model.get_input_embeddings()(batch["input_ids"])
    with masked_vision_tokens(model, TokenMasking(WIDTH)), pytest.raises(EngineError, match="input_ids"):
        model(inputs_embeds=states)


def test_a_model_without_pictures_is_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**text_part("plain")))
    with pytest.raises(EngineError, match="image token"), masked_vision_tokens(model, TokenMasking(WIDTH)):
        pass
