"""The training recipes on a handful of pictures: they learn, stop, go on, and save what the product loads."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.nano_examples import SPOOF_QUESTION, SpoofLabel, look_messages, spoof_answer
from visagent.datasets.routing import CANNOT, NOT_OFFERED
from visagent.errors import PictureError, WeightsError
from visagent.evidence import Box
from visagent.finetune.checkpoint import load_checkpoint, save_checkpoint
from visagent.finetune.curriculum import Curriculum, Ending, Exercise
from visagent.finetune.expression_teacher import ExpressionTeacher, augment, normalise
from visagent.finetune.nano import make_corpus, pixels_of, save_nano, see_talk, training_loss
from visagent.finetune.nano_model import (
    GRID,
    TOKENS_PER_VIEW,
    build_nano,
    build_processor,
    build_tower,
    sine_cosine_positions,
    train_tokenizer,
    wave_filters,
)
from visagent.finetune.spoof_specialist import go_on_from
from visagent.finetune.spoof_specialist import training_loss as specialist_loss
from visagent.finetune.views import ViewSet, open_views, vary_detail
from visagent.finetune.vision_tower import Teachers, TowerWithHeads, tower_of
from visagent.finetune.vision_tower import training_loss as tower_loss
from visagent.tools.spoof.network import SpoofNetwork, Vocabulary, as_input, load_network, save_network
from visagent.tools.spoof.view import as_screened, screening_view

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    """Sixteen views in one shard: live ones of noise, attacked ones with a bright square."""
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 120, (16, 192, 192, 3)).astype(np.uint8)
    rows = []
    for number in range(16):
        attacked = number % 2 == 1
        if attacked:
            pixels[number, 48:96, 32:128] = 230
        rows.append({"attack": ATTACK_TYPES[0] if attacked else None,
                     "box": [32.0, 48.0, 128.0, 96.0] if attacked else None,
                     "clues": [CLUES[0]] if attacked else [], "source": "lfw", "key": f"person {number}"})
    np.save(folder / "views-000.npy", pixels)
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "labels-000.parquet")
    return open_views(folder)


@pytest.fixture(scope="module")
def curriculum(views: ViewSet) -> Curriculum:
    tokenizer = train_tokenizer(make_corpus(150, 0), words=900)
    gray = np.random.default_rng(0).integers(0, 255, (5, 48, 48)).astype(np.uint8)
    votes = np.eye(8, dtype=np.float32)[:5]
    return Curriculum(tokenizer, views, gray, votes, np.full((8, 8), 1 / 8, np.float32))


def test_views_are_read_as_written(views: ViewSet) -> None:
    assert len(views) == 16
    assert views.kinds.tolist() == [0, 1] * 8
    assert views.clues[1].sum() == 1 and views.clues[0].sum() == 0
    assert views.pictures(np.array([1, 3])).shape == (2, 192, 192, 3)


def test_most_views_are_resampled_as_the_tool_does_and_others_otherwise(views: ViewSet) -> None:
    """Live views of noise lose detail; what the tool would show is among the most frequent results."""
    many = np.zeros(200, np.int64)
    raw, screened = views.pictures(many[:1])[0], views.screened(many[:1])[0]
    varied = vary_detail(views.pictures(many), np.random.default_rng(0))
    as_tool = np.array([np.array_equal(view, screened) for view in varied])
    assert screened.std() < raw.std() and varied.shape == (200, 192, 192, 3)
    assert 0.5 < as_tool.mean() < 0.7
    assert len({round(float(view.std()), 3) for view in varied}) > 40
    assert np.array_equal(varied, vary_detail(views.pictures(many), np.random.default_rng(0)))


def test_a_view_with_surroundings_and_a_ready_made_one_are_shown_alike(views: ViewSet) -> None:
    picture = views.pictures(np.array([0]))[0]
    face = Box(x1=12, y1=12, x2=180, y2=180)  # with the view's margin, exactly the picture
    assert np.array_equal(screening_view(picture, face).rgb, as_screened(picture))


def test_the_tower_of_a_saved_nano_is_read_back(views: ViewSet, curriculum: Curriculum, tmp_path: Path) -> None:
    nano = build_nano(curriculum._tokenizer)
    save_nano(nano, curriculum._tokenizer, tmp_path)
    tower = build_tower(views.pictures(np.arange(16)))
    tower.load_state_dict(tower_of(tmp_path))
    for name, value in nano.model.vision_model.state_dict().items():
        assert torch.equal(value.to(torch.bfloat16), tower.state_dict()[name].to(torch.bfloat16))


def test_masks_cover_the_box_exactly(views: ViewSet) -> None:
    mask = views.masks(np.array([1]), 12)[0]
    assert mask[3:6, 2:8].min() == 1
    assert mask.sum() == pytest.approx(18)


def test_missing_views_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="spoof_views"):
        open_views(tmp_path)


def test_a_specialist_goes_on_with_more_types_and_clues_than_it_knew() -> None:
    torch.manual_seed(3)
    old = SpoofNetwork(Vocabulary(("replay", "print"), ("a cut edge", "eye holes"))).eval()
    new = SpoofNetwork(Vocabulary(("print", "tattoo", "replay"), ("eye holes", "an ink pattern", "a cut edge"))).eval()
    fresh = new.types.weight[2].clone()
    go_on_from(new, old)
    with torch.no_grad():
        view = torch.rand(2, 3, 192, 192) * 2 - 1
        before, after = old(view), new(view)
    assert torch.allclose(before.types, after.types[:, [0, 3, 1]], atol=1e-5)
    assert torch.allclose(before.clues, after.clues[:, [2, 0]], atol=1e-5)
    assert torch.equal(new.types.weight[2], fresh)


@pytest.mark.parametrize("other", [
    SpoofNetwork(Vocabulary(("print", "hologram"), ("eye holes",))),
    SpoofNetwork(Vocabulary(("print",), ("eye holes",)), width=8),
])
def test_a_specialist_that_does_not_fit_is_refused(other: SpoofNetwork) -> None:
    with pytest.raises(WeightsError, match="start anew"):
        go_on_from(SpoofNetwork(Vocabulary(("print",), ("eye holes",))), other)


def test_the_specialist_learns_and_is_saved_whole(views: ViewSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES), width=4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for step in range(25):
        loss = specialist_loss(network, views, np.arange(16), np.random.default_rng(step), CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    full = SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES)).eval()
    save_network(full, tmp_path)
    inputs = as_input(views.pictures(np.arange(4)))
    with torch.inference_mode():
        assert torch.allclose(load_network(tmp_path)(inputs).attack_score, full(inputs).attack_score, atol=0.02)


def test_attack_score_is_the_log_odds_of_not_live(views: ViewSet) -> None:
    network = SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES), width=4).eval()
    with torch.inference_mode():
        output = network(as_input(views.pictures(np.arange(4))))
    live = output.types.softmax(1)[:, 0]
    assert torch.allclose(output.attack_score, torch.log((1 - live) / live), atol=1e-4)


def test_positions_are_all_different() -> None:
    positions = sine_cosine_positions(GRID, 256)
    assert positions.shape == (144, 256)
    apart = torch.cdist(positions, positions) + torch.eye(144) * 9
    assert apart.min() > 0.5


def test_wave_filters_have_no_duplicates_and_see_fine_stripes() -> None:
    bank = wave_filters(256).flatten(1)
    bank = bank / bank.norm(dim=1, keepdim=True)
    assert (bank @ bank.T - torch.eye(256)).max() < 0.999
    x = torch.arange(16) + 0.5
    stripes = torch.cos(2 * torch.pi * x / 2.9).expand(3, 16, 16).flatten()
    assert (bank @ stripes).abs().max() > 3 * (bank[:48] @ stripes).abs().median()


def test_the_tower_takes_one_step_down(views: ViewSet) -> None:
    torch.manual_seed(0)
    model = TowerWithHeads(build_tower(views.pictures(np.arange(16))), 128, 192)
    teachers = Teachers(SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES)).eval(), ExpressionTeacher().eval())
    gray = np.random.default_rng(0).integers(0, 255, (4, 48, 48)).astype(np.uint8)
    votes = torch.eye(8)[:4]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    losses = []
    for drop in (0.5, 0.5, 0.5, 0.0):
        loss = tower_loss(model, teachers, views, np.arange(4), gray, votes, np.random.default_rng(0), drop=drop,
                          device=CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert np.isfinite(losses).all()


def test_expression_pictures_are_normalised_and_augmented_reproducibly() -> None:
    gray = np.random.default_rng(0).integers(0, 255, (3, 48, 48)).astype(np.uint8)
    normal = normalise(gray)
    assert normal.shape == (3, 1, 48, 48) and normal.mean((1, 2, 3)).abs().max() < 1e-4
    once, again = (augment(gray, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(once, again) and not np.array_equal(once, gray)


@pytest.mark.parametrize(("intent", "expected"), [
    ("spoof.verdict", "Spoof: print attack."),
    ("spoof.full", "Spoof: print attack. I see halftone dots and bent paper. Attacked area: [100, 200, 500, 1000]."),
    ("spoof.where", "Spoof: print attack. Attacked area: [100, 200, 500, 1000]."),
])
def test_spoof_answers_hold_what_is_in_the_label(intent: str, expected: str) -> None:
    label = SpoofLabel("print", ("halftone dots", "bent paper"), (0.1, 0.2, 0.5, 1.0))
    assert spoof_answer(label, intent) == expected


def test_exercises_are_reproducible_and_end_with_the_answers(curriculum: Curriculum) -> None:
    exercises = curriculum.exercises(Random(7), 200)
    assert exercises == curriculum.exercises(Random(7), 200)
    for exercise in exercises:
        for ending in exercise.endings:
            text = curriculum._tokenizer.decode(ending.ids[ending.answer_from:])
            assert text.endswith("<|im_end|>") or CANNOT.startswith(text) or NOT_OFFERED.startswith(text)
            assert "<image>" not in curriculum._tokenizer.decode(ending.ids)
        places = exercise.beginning.count(curriculum._tokenizer.convert_tokens_to_ids("<image>"))
        assert places == TOKENS_PER_VIEW * len(exercise.pictures)
    assert max(len(exercise.endings) for exercise in exercises) > 3
    assert {source for exercise in exercises for source, _ in exercise.pictures} == {"view", "ferplus", "talk"}


def test_questions_in_one_sequence_are_learned_as_if_asked_alone(curriculum: Curriculum, views: ViewSet) -> None:
    torch.manual_seed(0)
    nano = build_nano(curriculum._tokenizer)
    nano.model.vision_model.requires_grad_(False)
    talk = see_talk(nano, views, CPU)

    def gradient(batches: list[list[Exercise]]) -> torch.Tensor:
        nano.zero_grad()
        for batch in batches:
            pixels = pixels_of(batch, views, curriculum._gray, np.random.default_rng(0))
            (training_loss(nano, batch, pixels, talk, 0, CPU) / len(batches)).backward()
        assert nano.lm_head.weight.grad is not None
        return nano.lm_head.weight.grad.flatten().clone()

    exercise = max((one for one in curriculum.exercises(Random(1), 120) if one.pictures),
                   key=lambda one: len(one.endings))
    assert len(exercise.endings) > 2
    together = gradient([[exercise]])
    apart = gradient([[Exercise(exercise.beginning, exercise.pictures, (ending,))] for ending in exercise.endings])
    assert torch.nn.functional.cosine_similarity(together, apart, dim=0) > 0.999
    assert together.norm() == pytest.approx(apart.norm().item(), rel=0.01)


def test_split_words_spell_the_same(curriculum: Curriculum) -> None:
    tokenizer = curriculum._tokenizer
    ids = tokenizer.encode("Is this a genuine expression?<image>")
    split = [curriculum._split(ids, Random(seed)) for seed in range(60)]
    assert max(len(tokens) for tokens in split) > len(ids)
    assert {tokenizer.decode(tokens) for tokens in split} == {tokenizer.decode(ids)}


def test_forgotten_words_are_few_and_never_the_frame_of_the_turn(curriculum: Curriculum) -> None:
    tokenizer = curriculum._tokenizer
    frame = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n")
    said = tokenizer.encode("Is this a genuine expression in image_2?")
    left = [curriculum._forget([*said, *frame], Random(seed)) for seed in range(200)]
    assert all(tokens[-len(frame):] == frame for tokens in left)
    assert all("_2?" in tokenizer.decode(tokens) for tokens in left)
    lost = len(said) + len(frame) - np.mean([len(tokens) for tokens in left])
    assert 0 < lost < 0.06 * len(said)


def test_the_first_token_weighs_the_same_in_short_and_long_answers(curriculum: Curriculum) -> None:
    """Otherwise "Live." outweighs "Spoof: ..." and attacks are called live."""
    torch.manual_seed(0)
    nano = build_nano(curriculum._tokenizer)
    first, whole = [], []
    for answer in ("Live.", "Spoof: print attack. I see halftone dots. Attacked area: [1, 2, 3, 4]."):
        beginning, ending = curriculum.look(SPOOF_QUESTION, answer)
        for losses, size in ((first, ending.answer_from + 1), (whole, len(ending.ids))):
            exercise = curriculum.exercise(beginning, (("view", 1),), [Ending(ending.ids[:size], ending.answer_from)])
            pixels = pixels_of([exercise], curriculum._views, curriculum._gray, np.random.default_rng(0))
            losses.append(training_loss(nano, [exercise], pixels, torch.empty(0, 144, 256), 0, CPU).item())
    assert whole[0] > first[0] and whole[1] > first[1]
    assert first[0] == pytest.approx(first[1], rel=0.2)


def test_a_checkpoint_takes_networks_that_are_kept_channels_last(tmp_path: Path) -> None:
    network = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "c.safetensors", network, [optimizer], 3)
    again = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    assert load_checkpoint(tmp_path / "c.safetensors", again, [torch.optim.AdamW(again.parameters())]) == 3
    assert torch.equal(again.weight, network.weight)


def test_nano_learns_saves_and_loads_as_a_stock_model(curriculum: Curriculum, views: ViewSet, tmp_path: Path) -> None:
    """What training feeds is exactly what the stock processor makes, and the saved folder gives the same loss."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.manual_seed(0)
    tokenizer = curriculum._tokenizer
    nano = build_nano(tokenizer)
    gray = curriculum._gray
    nano.model.vision_model.requires_grad_(False)
    talk = see_talk(nano, views, CPU)
    batch = next(curriculum.batches(0, 8, pool=1))
    pixels = pixels_of(batch, views, gray, np.random.default_rng(0))
    optimizer = torch.optim.AdamW(nano.parameters(), lr=2e-3)
    losses = []
    for _ in range(6):
        loss = training_loss(nano, batch, pixels, talk, tokenizer.pad_token_id, CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    checkpoint = tmp_path / "checkpoint.safetensors"
    save_checkpoint(checkpoint, nano, [optimizer], 6)
    fresh = build_nano(tokenizer)
    fresh_optimizer = torch.optim.AdamW(fresh.parameters(), lr=2e-3)
    assert load_checkpoint(checkpoint, fresh, [fresh_optimizer]) == 6
    for model, optim in ((nano, optimizer), (fresh, fresh_optimizer)):
        model.zero_grad()
        training_loss(model, batch, pixels, talk, tokenizer.pad_token_id, CPU).backward()
        optim.step()
    assert torch.allclose(nano.lm_head.weight, fresh.lm_head.weight, atol=1e-5)

    save_nano(nano, tokenizer, tmp_path / "nano")
    processor = AutoProcessor.from_pretrained(tmp_path / "nano")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "nano", dtype=torch.float32)
    picture = Image.fromarray(views.pictures(np.array([1]))[0])
    messages = look_messages(SPOOF_QUESTION)
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=prompt, images=[picture], return_tensors="pt")
    beginning, ours = curriculum.look(SPOOF_QUESTION, "Live.")
    asked = [*curriculum.exercise(beginning, (), [ours]).beginning, *ours.ids[:ours.answer_from]]
    assert inputs.input_ids[0].tolist() == asked
    assert torch.equal(inputs.pixel_values[0, 0], as_input(np.asarray(picture)[None])[0])
    with torch.inference_mode():
        stock = loaded(**inputs).logits[0, -1].log_softmax(0)[ours.ids[ours.answer_from]]
    assert torch.isfinite(stock)
    assert (tmp_path / "nano" / "model.safetensors").stat().st_size < 40e6


def test_the_processor_adds_no_token(curriculum: Curriculum) -> None:
    size = len(curriculum._tokenizer)
    build_processor(curriculum._tokenizer)
    assert len(curriculum._tokenizer) == size


def test_the_chat_template_lists_tools_only_when_offered(curriculum: Curriculum) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    tool = {"type": "function", "function": {"name": "spoof", "description": "", "parameters": {}}}
    bare = curriculum._tokenizer.apply_chat_template(messages, tokenize=False)
    offered = curriculum._tokenizer.apply_chat_template(messages, tools=[tool], tokenize=False)
    assert bare == "<|im_start|>user\nQ<|im_end|>\n"
    assert offered == "<|im_start|>system\nS\ntools: spoof<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"

