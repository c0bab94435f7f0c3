"""The ablation compares like with like: same questions, same fresh weights, frozen rest; and it can be stopped."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import torch
from transformers import AutoProcessor, Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.nano_examples import SpoofLabel, look_messages, spoof_answer
from visagent.finetune import ablation, ablation_model
from visagent.finetune.ablation import Budget, Run, Split, planned_runs, question_of, run_all, score, table, train_run
from visagent.finetune.ablation_model import AblationModel, see_views
from visagent.finetune.nano import make_corpus, save_nano
from visagent.finetune.nano_model import build_nano, train_tokenizer
from visagent.finetune.pvtm import TokenMasking
from visagent.finetune.views import open_views
from visagent.tools.spoof.network import as_input
from visagent.vision.savp import savp_maps

VIEWS = 12
BUDGET = Budget(steps=3, batch=4, rate=2e-3, train_views=VIEWS, test_views=4, model="0", tower="shipped")


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed views: live ones of noise, attacked ones with a bright square."""
    root = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        (root / split).mkdir()
        pixels = rng.integers(60, 120, (VIEWS, 192, 192, 3)).astype(np.uint8)
        pixels[1::2, 48:96, 32:128] = 230
        rows = [{"attack": ATTACK_TYPES[0] if number % 2 else None,
                 "box": [32.0, 48.0, 128.0, 96.0] if number % 2 else None,
                 "clues": [CLUES[0]] if number % 2 else [], "source": "lfw", "key": f"{split} {number}"}
                for number in range(VIEWS)]
        np.save(root / split / "views-000.npy", pixels)
        parquet.write_table(arrow.Table.from_pylist(rows), root / split / "labels-000.parquet")
    return root


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(make_corpus(150, 0), words=900)


@pytest.fixture(scope="module")
def nano(tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    torch.manual_seed(0)
    return build_nano(tokenizer).eval()


@pytest.fixture(scope="module")
def splits(
    nano: Idefics3ForConditionalGeneration, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Split, Split]:
    cache = tmp_path_factory.mktemp("tokens")
    views = {split: open_views(folder / split) for split in ("train", "test")}
    chosen = {"train": np.arange(VIEWS), "test": np.arange(4)}
    train, test = (Split(views[name], chosen[name], see_views(nano, views[name], chosen[name], cache, "digest"))
                   for name in ("train", "test"))
    return train, test


def build(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, run: Run
) -> AblationModel:
    masking = None if run.mask is None else TokenMasking(256, retain=run.retain or 0, mask=run.mask)
    return AblationModel(copy.deepcopy(nano), tokenizer, savp=run.savp, masking=masking, seed=run.seed)


def test_the_plan_is_the_papers_ablation() -> None:
    runs = planned_runs()
    assert len(runs) == len(set(runs)) == 14
    for variant in ("RGB", "RGB + SAVP", "RGB + SAVP + PVTM, k 10%, p 5%"):
        assert [run.seed for run in runs if run.variant == variant] == [0, 1, 2]
    masked = [(run.retain, run.mask) for run in runs if run.mask is not None]
    assert {k for k, p in masked if p == 0.05} == {0.1, 0.2, 0.3}
    assert {p for k, p in masked if k == 0.1} == {0.05, 0.1, 0.2, 0.3}


@pytest.mark.parametrize("savp", [False, True])
def test_a_question_is_what_the_stock_processor_makes_of_it(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, splits: tuple[Split, Split],
    tmp_path: Path, savp: bool,
) -> None:
    """Tokens from the cache, embedded by hand, answer as the saved model does with the pictures themselves."""
    save_nano(nano, tokenizer, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    model = build(nano, tokenizer, Run(savp, None, None, 0)).eval()
    with torch.no_grad():  # what it says must hang on what it sees
        model.nano.model.connector.modality_projection.proj.weight.mul_(20)
    photo = splits[0].views.screened(np.array([3]))[0]
    shown = [photo, savp_maps(photo)] if savp else [photo]
    messages = look_messages("Is this a spoof?")
    messages[0]["content"][1:2] = [{"type": "image"}] * len(shown)  # type: ignore[index]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=text, images=shown, return_tensors="pt")
    asked = model.ask("Is this a spoof?", "Live. Nothing is attacked.")
    assert list(asked.prompt) == inputs["input_ids"][0].tolist()
    assert tokenizer.decode(asked.prompt[asked.words.start:asked.words.stop]) == "Is this a spoof?"
    assert tokenizer.decode(asked.answer) == "Live. Nothing is attacked.<|im_end|>"
    seen = as_input(np.stack(shown))
    assert torch.allclose(inputs["pixel_values"][0], seen, atol=0.01)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        ids = torch.tensor([[*asked.prompt, *asked.answer]])
        logits = model.nano(input_ids=ids, pixel_values=seen[None]).logits[0, len(asked.prompt) - 1 : -1].float()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(asked.answer), reduction="none")
        expected = (losses * torch.tensor([0.6] + [len(losses) ** -0.5] * (len(losses) - 1))).sum().item()
        found, other = (model.loss([asked], splits[0].seen.batch([row], savp)).item() for row in (3, 2))
        assert found == pytest.approx(expected, rel=1e-5) and abs(other - expected) > 50e-6 * expected
        first = tokenizer.decode(logits[0].argmax()).strip()
    assert model.answer([asked], splits[0].seen.batch([3], savp))[0].startswith(first)


def test_all_variants_begin_alike_and_train_the_same_parts(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, splits: tuple[Split, Split],
    tmp_path: Path,
) -> None:
    before = copy.deepcopy(nano.state_dict())
    plain, full, other = (build(nano, tokenizer, run) for run in
                          (Run(False, None, None, 0), Run(True, 0.1, 0.3, 0), Run(False, None, None, 1)))
    fresh = dict(plain.named_parameters())
    for name, value in full.named_parameters():
        assert name == "masking.vector" or torch.equal(value, fresh[name])
    connector = "nano.model.connector.modality_projection.proj.weight"
    assert not torch.equal(fresh[connector], dict(other.named_parameters())[connector])
    assert not torch.equal(fresh[connector], before[connector.removeprefix("nano.")])
    learned = {name for name, value in full.named_parameters() if value.requires_grad}
    assert learned == {name for name in dict(full.named_parameters())
                       if "lora_" in name or "connector" in name or name == "masking.vector"}
    start = copy.deepcopy(full.state_dict())
    train_run(full, Run(True, 0.1, 0.3, 0), BUDGET, splits[0], tmp_path / "c.safetensors")
    changed = {name for name, value in full.state_dict().items() if not torch.equal(value, start[name])}
    assert changed == learned
    assert all(torch.equal(value, before[name]) for name, value in nano.state_dict().items())


def test_it_learns_to_answer_many_at_once_as_one_by_one(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, splits: tuple[Split, Split]
) -> None:
    model = build(nano, tokenizer, Run(True, 0.1, 0.05, 0))
    model.nano.requires_grad_(True)  # a random language model has to learn everything
    rows = range(4)
    answers = [spoof_answer(splits[0].label(row), "spoof.verdict") for row in rows]
    questions = ["Live?", "Live or spoof? Please tell me now.", "Is it a spoof or not?", "Spoof?"]
    asked = [model.ask(*both) for both in zip(questions, answers, strict=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    apart = torch.stack([model.eval().loss([one], splits[0].seen.batch([row], True))
                         for row, one in zip(rows, asked, strict=True)])
    assert apart.mean().item() == pytest.approx(model.loss(asked, splits[0].seen.batch(rows, True)).item(), rel=0.01)
    model.train()
    for _ in range(60):
        loss = model.loss(asked, splits[0].seen.batch(rows, True))
        if loss < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert model.answer(asked, splits[0].seen.batch(rows, True)) == answers
    assert [model.answer([one], splits[0].seen.batch([row], True))[0]
            for row, one in zip(rows, asked, strict=True)] == answers


def test_a_stopped_run_goes_on_and_ends_as_if_never_stopped(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, splits: tuple[Split, Split],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(True, 0.1, 0.3, 0)
    whole = build(nano, tokenizer, run)
    train_run(whole, run, BUDGET, splits[0], tmp_path / "whole.safetensors")
    monkeypatch.setattr(ablation, "_MINUTES_BETWEEN_CHECKPOINTS", 0.0)
    stopped = build(nano, tokenizer, run)
    loss, calls = stopped.loss, []

    def stop_at_the_third(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stopped, "loss", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        train_run(stopped, run, BUDGET, splits[0], tmp_path / "part.safetensors")
    again = build(nano, tokenizer, run)
    train_run(again, run, BUDGET, splits[0], tmp_path / "part.safetensors")
    for name, value in again.state_dict().items():
        assert torch.allclose(value, whole.state_dict()[name], atol=1e-6), name


def test_views_are_encoded_once_and_other_ones_anew(
    nano: Idefics3ForConditionalGeneration, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = open_views(folder / "train")
    first = see_views(nano, views, np.arange(4), tmp_path, "digest")
    assert first.photos.shape == (4, 144, 256) and not np.array_equal(first.photos, first.maps)
    both = first.batch([2, 0], True)
    assert torch.equal(both[0], torch.from_numpy(first.photos[2].astype(np.float32)))
    assert torch.equal(both[3], torch.from_numpy(first.maps[0].astype(np.float32)))
    assert torch.equal(first.batch([2, 0], False), both[::2])
    monkeypatch.setattr(ablation_model, "see", None)
    assert np.array_equal(see_views(nano, views, np.arange(4), tmp_path, "digest").maps, first.maps)
    for numbers, digest in ((np.arange(1, 5), "digest"), (np.arange(4), "other")):
        with pytest.raises(TypeError, match="not callable"):
            see_views(nano, views, numbers, tmp_path, digest)


LABELS = [SpoofLabel(None, (), None), SpoofLabel("print", ("halftone dots",), (0.1, 0.2, 0.5, 1.0)),
          SpoofLabel(None, (), None), SpoofLabel("glasses", ("a paper frame",), (0.2, 0.2, 0.8, 0.5))]


def test_right_answers_score_full_marks() -> None:
    said = {task: [spoof_answer(label, intent) for label in LABELS] for task, intent in ablation.TASKS.items()}
    assert score(LABELS, said) == {"coarse_acc": 1, "coarse_hter": 0, "fine_acc": 1, "reasoning_acc": 1,
                                   "reasoning_hter": 0, "ap40": 1, "ap50": 1}


def test_wrong_and_unreadable_answers_count_as_the_errors_they_are() -> None:
    """IoU of the first box is 4/9: enough for AP@40 alone. A fine answer may be right in its verdict only."""
    said: dict[str, list[str | None]] = {
        "coarse": ["Live.", "Live.", "Spoof: print attack.", "Spoof: print attack."],
        "fine": ["Live.", "Spoof: replay attack.", "hm", "Spoof: glasses attack."],
        "reasoning": ["hm", "hm", "hm", "hm"],
        "localisation": [None, "Spoof: print attack. Attacked area: [100, 200, 278, 1000].", None, "Spoof."],
    }
    found = score(LABELS, said)
    assert (found["coarse_acc"], found["coarse_hter"]) == (0.5, 0.5)
    assert found["fine_acc"] == 0.5
    assert (found["reasoning_acc"], found["reasoning_hter"]) == (0, 1)
    assert (found["ap40"], found["ap50"]) == (0.5, 0)


def test_every_task_has_its_question_and_it_stays_the_same() -> None:
    assert question_of("fine", 3) == question_of("fine", 3)
    assert len({question_of(task, number) for task in ablation.TASKS for number in range(5)}) > 15


def test_the_table_gives_mean_and_spread_over_seeds() -> None:
    scores = dict.fromkeys(ablation.COLUMNS, 0.5)
    results = [{"run": {"savp": False, "retain": None, "mask": None, "seed": seed},
                "scores": {**scores, "coarse_acc": value}} for seed, value in enumerate((0.8, 0.9, 1.0))]
    results.append({"run": {"savp": True, "retain": 0.1, "mask": 0.3, "seed": 0}, "scores": scores})
    lines = table(results, BUDGET).splitlines()
    assert lines[2].startswith("| RGB | 3 | 90.0 ± 10.0 | 50.0 ± 0.0 |")
    assert lines[3].startswith("| RGB + SAVP + PVTM, k 10%, p 30% | 1 | 50.0 | 50.0 |")


def test_finished_runs_are_not_done_again_and_another_budget_is_another_comparison(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, splits: tuple[Split, Split],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ablation_model, "ANSWER_TOKENS", 4)
    runs = [Run(False, None, None, 0), Run(True, 0.1, 0.05, 0)]
    text = run_all(nano, tokenizer, runs, BUDGET, splits, tmp_path)
    lines = (tmp_path / "results.jsonl").read_text()
    assert [json.loads(line)["variant"] for line in lines.splitlines()] == [run.variant for run in runs]
    assert text == (tmp_path / "table.md").read_text() and text.count("| 1 |") == 2
    assert not list(tmp_path.glob("*.safetensors"))
    with monkeypatch.context() as patched:
        patched.setattr(ablation, "train_run", None)
        assert run_all(nano, tokenizer, runs, BUDGET, splits, tmp_path) == text
        assert (tmp_path / "results.jsonl").read_text() == lines
    longer = Budget(**{**ablation.asdict(BUDGET), "steps": 1})
    assert run_all(nano, tokenizer, runs[:1], longer, splits, tmp_path).count("| 1 |") == 1


def test_the_command_runs_from_a_models_folder(
    nano: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ablation_model, "ANSWER_TOKENS", 4)
    save_nano(nano, tokenizer, tmp_path / "nano")
    ablation.main(["--views", str(folder), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "nano"),
                   "--steps", "1", "--batch", "4", "--train-views", "6", "--test-views", "4", "--first", "1",
                   "--tower", "untaught"])
    result = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert result["budget"]["tower"] == "untaught" and result["budget"]["train_views"] == 6
    assert set(result["scores"]) == set(ablation.COLUMNS)
    assert "| RGB | 1 |" in capsys.readouterr().out
