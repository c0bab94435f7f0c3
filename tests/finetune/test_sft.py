"""Supervised fine-tuning on a handful of pictures: the loss, batches and processes, stops and early stops, errors."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from langchain_core.messages import SystemMessage
from safetensors.torch import load_file

from visagent.agent.engines import open_engine
from visagent.agent.engines.loading import load_model
from visagent.agent.engines.local import LocalEngine
from visagent.agent.views import picture_question
from visagent.errors import EngineError, PictureError, SettingsError
from visagent.finetune import sft
from visagent.finetune.pvtm import TokenMasking
from visagent.finetune.sft import fine_tune
from visagent.finetune.sft_data import IGNORED, Collator, read_split, with_maps
from visagent.finetune.sft_model import Learner, make_learnable, masked_tokens, optimizer_for, projectors
from visagent.finetune.sft_recipe import Lora, Pvtm, Recipe
from visagent.finetune.sft_report import Outcome, draw_curves
from visagent.settings import Settings
from visagent.vision.savp import savp_maps

from ..agent.tiny_model import build_tiny_model
from .conftest import ANSWERS, sample, write_set

CPU = Settings(device="cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-vlm")


@pytest.fixture
def recipe(tiny: Path) -> Recipe:
    return Recipe(name="mine", model=str(tiny), method="lora", lora=Lora(rank=4, alpha=8, dropout=0.1),
                  pvtm=Pvtm(retain=0.1, mask=0.5), rate=5e-3, batch=2, accumulate=2, epochs=4, evaluate_every=2)


def with_values(recipe: Recipe, **values: Any) -> Recipe:
    return Recipe.model_validate(recipe.model_dump() | values)


def rows_of(folder: Path, samples: Sequence[dict[str, Any]]) -> list[Any]:
    return list(read_split(write_set(folder, {"train": samples}), "train"))


class TestLoss:
    def test_it_is_the_papers_sum_over_an_answers_tokens_over_their_number(
            self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        """Against a plain computation from all logits of each sample alone."""
        loaded = load_model(Settings(model=str(tiny), device="cpu"))
        collate = Collator(loaded.processor)
        rows = rows_of(tmp_path, [sample([answer], pictures=count, seed=count)
                                  for answer, count in zip(ANSWERS, (1, 2, 1), strict=True)])
        expected = []
        for row in rows:
            batch = collate([row])
            labels = batch.pop("labels")[0]
            with torch.no_grad():
                likely = loaded.model(**batch).logits[0].log_softmax(-1)
            places = [place for place, label in enumerate(labels.tolist()) if label != IGNORED]
            expected.append(-sum(float(likely[place - 1, labels[place]]) for place in places) / len(places))
        with torch.no_grad():
            loss = Learner(loaded.model, None)(**collate(rows))
        assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)

    def test_the_prompt_is_what_the_engine_gives_the_model_when_it_is_asked(
            self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        engine = open_engine(Settings(model=str(tiny), device="cpu"))
        assert isinstance(engine, LocalEngine)
        pixels = sample(["Live."], side=48)["images"]
        asked = engine.inputs([SystemMessage(engine.system_prompt()), picture_question("Live or spoof?", pixels)])
        messages = [{"role": "system", "content": [{"type": "text", "text": engine.system_prompt()}]},
                    {"role": "user", "content": [{"type": "text", "text": "image_1"}, {"type": "image", "text": None},
                                                 {"type": "text", "text": "Live or spoof?"}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "Live."}]}]
        batch = Collator(engine.processor)(rows_of(tmp_path, [{"images": pixels, "messages": messages}]))
        answer = int((batch["labels"][0] != IGNORED).nonzero()[0])
        assert batch["input_ids"][0, :answer].tolist() == asked["input_ids"][0].tolist()
        assert torch.equal(batch["pixel_values"], asked["pixel_values"])

    def test_padding_and_neighbours_do_not_change_a_samples_loss(
            self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        loaded = load_model(Settings(model=str(tiny), device="cpu"))
        rows = rows_of(tmp_path, [sample([ANSWERS[0]], seed=1), sample([ANSWERS[2], ANSWERS[1]], pictures=2, seed=2)])
        learner, collate = Learner(loaded.model, None), Collator(loaded.processor)
        with torch.no_grad():
            together = float(learner(**collate(rows)))
            alone = [float(learner(**collate([row]))) for row in rows]
        assert together == pytest.approx(np.mean(alone), rel=1e-4)


class TestPictures:
    def test_maps_follow_each_picture_as_a_picture_of_their_own(self) -> None:
        one = sample(["Live."], pictures=2)
        messages, shown = with_maps(one["messages"], one["images"])
        kinds = [part["type"] for part in messages[0]["content"]]
        assert kinds == ["image"] * 4 + ["text"]
        assert np.array_equal(shown[0], one["images"][0]) and np.array_equal(shown[1], savp_maps(one["images"][0]))
        assert np.array_equal(shown[3], savp_maps(one["images"][1]))

    def test_with_maps_the_model_sees_them(self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        processor: Any = load_model(Settings(model=str(tiny), device="cpu")).processor
        rows = rows_of(tmp_path, [sample(["Live."], seed=3)])
        plain, doubled = Collator(processor)(rows), Collator(processor, savp=True)(rows)
        token = processor.image_token_id
        assert (doubled["input_ids"] == token).sum() == 2 * (plain["input_ids"] == token).sum()
        assert torch.equal(doubled["pixel_values"][0, 0], plain["pixel_values"][0, 0])
        assert not torch.equal(doubled["pixel_values"][0, 1], plain["pixel_values"][0, 0])
        answers = [batch["labels"][batch["labels"] != IGNORED].tolist() for batch in (plain, doubled)]
        assert answers[0] == answers[1]

    def test_tokens_are_masked_in_training_only_and_by_the_question_alone(
            self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        loaded = load_model(Settings(model=str(tiny), device="cpu"))
        masking = TokenMasking(64, retain=0.0, mask=1.0)
        learner = Learner(loaded.model, masking)
        batch = Collator(loaded.processor)(rows_of(tmp_path, [sample([ANSWERS[1]], seed=4)]))
        plain = Learner(loaded.model, None)(**batch)
        seen: list[torch.Tensor] = []
        masking.choose = lambda embedded, vision, question, rest=masking.choose: (  # type: ignore[method-assign,misc]
            seen.append(question), rest(embedded, vision, question))[1]
        with masked_tokens(learner, loaded.processor.tokenizer.all_special_ids):
            assert torch.equal(learner.eval()(**batch), plain)
            loss = learner.train()(**batch)
            assert not torch.equal(loss, plain)
        loss.backward()
        assert masking.vector.grad is not None and masking.vector.grad.abs().sum() > 0
        assert not (seen[-1] & (batch["labels"] != IGNORED)).any() and seen[-1].any()
        assert torch.equal(Learner(loaded.model, None).train()(**batch), plain)  # the context is over


class TestRun:
    def test_one_batch_of_four_and_two_of_two_are_one_step(self, recipe: Recipe, spoof_set: Callable[[int], Path],
                                                           tmp_path: Path) -> None:
        exact = with_values(recipe, pvtm=None, precision="fp32", lora={"rank": 4, "alpha": 8, "dropout": 0},
                            epochs=2)
        data = spoof_set(8)
        halves = fine_tune(exact, data, tmp_path / "halves", CPU)
        whole = fine_tune(with_values(exact, batch=4, accumulate=1), data, tmp_path / "whole", CPU)
        assert [loss for _, loss in halves.losses] == pytest.approx([loss for _, loss in whole.losses], rel=1e-4)
        assert halves.best[1] == pytest.approx(whole.best[1], rel=1e-3)

    def test_a_stopped_run_goes_on_bit_for_bit(self, recipe: Recipe, spoof_set: Callable[[int], Path], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
        """With dropout, masks and bfloat16; killed in the sixth step, after the checkpoint of the fourth."""
        data = spoof_set(8)
        whole = fine_tune(recipe, data, tmp_path / "whole", CPU)
        forward, trained = Learner.forward, []

        def dies(self: Learner, **batch: torch.Tensor) -> torch.Tensor:
            if self.training:
                trained.append(1)
            if len(trained) == 11:  # two batches a step: in the sixth
                raise KeyboardInterrupt
            return forward(self, **batch)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "forward", dies)
            with pytest.raises(KeyboardInterrupt):
                fine_tune(recipe, data, tmp_path / "parts", CPU)
        written = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(written[-1])["step"] == 5 and whole.steps == 8
        with (tmp_path / "parts" / "metrics.jsonl").open("a") as stream:
            stream.write('{"step": 6, "los')  # what a machine that goes down leaves behind
        parts = fine_tune(recipe, data, tmp_path / "parts", CPU)
        assert len(trained) == 11 and parts.losses == whole.losses and parts.looks == whole.looks
        learned, again = (load_file(run.folder / "adapter_model.safetensors") for run in (whole, parts))
        assert all(torch.equal(learned[name], again[name]) for name in learned)
        # And a run that is done is only reported again.
        assert fine_tune(recipe, data, tmp_path / "parts", CPU).rows == parts.rows

    def test_it_learns_and_says_so(self, recipe: Recipe, spoof_set: Callable[[int], Path], tmp_path: Path) -> None:
        outcome = fine_tune(with_values(recipe, epochs=8), spoof_set(8), tmp_path / "run", CPU)
        first, last = outcome.looks[0][1], outcome.best[1]
        assert last < 0.8 * first
        report = (tmp_path / "run" / "report.md").read_text()
        assert f"{first:.4f} before, {last:.4f} at step {outcome.best[0]:.0f}" in report
        speed = re.search(r"([\d.]+) pictures a second", report)
        assert speed and float(speed[1]) == pytest.approx(outcome.pictures_per_second, abs=0.06)
        assert sum(row.get("pictures", 0) for row in outcome.rows) == 8 * 8
        assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
        engine = open_engine(Settings(model=recipe.model, adapter=outcome.folder, device="cpu"))
        assert engine.identity.id == "tiny-vlm+mine"

    def test_it_stops_when_the_dev_split_gets_no_better_and_keeps_the_best(
            self, recipe: Recipe, spoof_set: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = iter([9.0, 3.0, 2.0, 2.5, 2.4, 1.0])
        monkeypatch.setattr(sft, "_dev_loss", lambda *_: next(given))
        saved: list[int] = []
        keep = sft.save_result
        monkeypatch.setattr(sft, "save_result", lambda *values: (saved.append(1), keep(*values)))
        patient = with_values(recipe, patience=2, evaluate_every=1)
        outcome = fine_tune(patient, spoof_set(8), tmp_path / "run", CPU)
        assert [loss for _, loss in outcome.looks] == [9.0, 3.0, 2.0, 2.5, 2.4]
        assert (len(outcome.losses), outcome.best, len(saved)) == (4, (2, 2.0), 2)
        assert "early stop" in (tmp_path / "run" / "report.md").read_text()

    def test_what_learns_and_at_which_rate(self, recipe: Recipe) -> None:
        both = with_values(recipe, train_projector=True, projector_rate=1e-5)
        loaded = load_model(Settings(model=recipe.model, device="cpu"))
        learner = Learner(make_learnable(loaded.model, both), TokenMasking(64))
        low, slow = optimizer_for(learner, both).param_groups
        names = {id(p): name for name, p in learner.named_parameters()}
        assert (low["lr"], slow["lr"]) == (5e-3, 1e-5)
        assert all("lora_" in names[id(p)] for p in low["params"])
        assert {re.sub(r".*(connector|masking).*", r"\1", names[id(p)]) for p in slow["params"]} == \
            {"connector", "masking"}

    def test_full_training_leaves_the_vision_encoder_and_takes_the_rest(self, recipe: Recipe) -> None:
        model = load_model(Settings(model=recipe.model, device="cpu")).model
        for stage, rooms in (("alignment", {"connector"}), ("sft", {"connector", "text_model"})):
            model = make_learnable(model, with_values(recipe, method="full", lora=None, stage=stage))
            learned = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
            assert learned == rooms

    def test_the_mask_vector_of_an_alignment_run_is_taken_up(self, recipe: Recipe, spoof_set: Callable[[int], Path],
                                                             tmp_path: Path) -> None:
        first = with_values(recipe, method="full", lora=None, stage="alignment", name="aligned")
        aligned = fine_tune(first, spoof_set(8), tmp_path / "one", CPU)
        vector = load_file(tmp_path / "one" / "token_masking.safetensors")["vector"]
        assert vector.abs().sum() > 0
        second = with_values(recipe, model=str(aligned.folder), rate=1e-9)
        fine_tune(second, spoof_set(8), tmp_path / "two", CPU)
        after = load_file(tmp_path / "two" / "token_masking.safetensors")["vector"]
        assert torch.allclose(vector, after, atol=1e-6)


class TestErrors:
    def test_another_number_of_processes_names_torchrun(self, recipe: Recipe, spoof_set: Callable[[int], Path],
                                                        tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"asks for 2 processes and the run has 1; .*torchrun"):
            fine_tune(with_values(recipe, processes=2), spoof_set(8), tmp_path / "run", CPU)

    def test_another_recipe_in_the_folder_is_refused(self, recipe: Recipe, spoof_set: Callable[[int], Path],
                                                     tmp_path: Path) -> None:
        data = spoof_set(4)
        fine_tune(with_values(recipe, epochs=1), data, tmp_path / "run", CPU)
        with pytest.raises(SettingsError, match="another recipe"):
            fine_tune(recipe, data, tmp_path / "run", CPU)

    def test_too_few_samples(self, recipe: Recipe, spoof_set: Callable[[int], Path], tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="takes 4 samples and there are 3"):
            fine_tune(recipe, spoof_set(3), tmp_path / "run", CPU)

    def test_data_that_is_not_as_it_should_be(self, fresh_accelerate: None, tmp_path: Path) -> None:
        import datasets

        with pytest.raises(SettingsError, match=r"train\.parquet is not in"):
            read_split(tmp_path, "train")
        datasets.Dataset.from_dict({"images": [[]], "text": ["x"]}).to_parquet(str(tmp_path / "train.parquet"))
        with pytest.raises(SettingsError, match="lacks the column messages"):
            read_split(tmp_path, "train")
        (tmp_path / "dev.parquet").write_bytes(b"PAR1 no more")
        with pytest.raises(SettingsError, match="cannot be read"):
            read_split(tmp_path, "dev")
        whole = datasets.Dataset.from_parquet(str(write_set(tmp_path / "empty", {"dev": [sample(["Live."])]})
                                                  / "dev.parquet"))
        whole.select([]).to_parquet(str(tmp_path / "empty" / "train.parquet"))
        with pytest.raises(SettingsError, match="holds no sample"):
            read_split(tmp_path / "empty", "train")
        broken = sample(["Live."])
        for name, change, says in (
                ("pictures", {"images": []}, "Sample 0 of train.parquet has 0 pictures and 1 places"),
                ("answer", {"messages": broken["messages"][:1]}, "does not end with an answer"),
                ("nothing", {"messages": [], "images": []}, "no conversation")):
            write_set(tmp_path / name, {"train": [{**broken, **change}]})
            with pytest.raises(SettingsError, match=says):
                read_split(tmp_path / name, "train")

    def test_a_picture_that_cannot_be_read(self, tiny: Path) -> None:
        processor: Any = load_model(Settings(model=str(tiny), device="cpu")).processor
        row = sample(["Live."])
        for image in ({"bytes": b"\x89PNG\r\n\x1a\n and no more", "path": None}, {"bytes": None, "path": "gone.png"}):
            with pytest.raises(PictureError):
                Collator(processor)([{**row, "images": [image]}])

    def test_a_sample_that_is_too_long(self, tiny: Path, fresh_accelerate: None, tmp_path: Path) -> None:
        processor: Any = load_model(Settings(model=str(tiny), device="cpu")).processor
        with pytest.raises(SettingsError, match="the model holds 20"):
            Collator(processor, longest=20)(rows_of(tmp_path, [sample(["Live."])]))

    def test_a_template_that_rewrites_earlier_turns(self, tiny: Path) -> None:
        processor: Any = load_model(Settings(model=str(tiny), device="cpu")).processor
        processor.chat_template = "{{ messages | length }} turns{% if add_generation_prompt %}, answer:{% endif %}"
        with pytest.raises(SettingsError, match="another template"):
            Collator(processor).render(sample(["Live.", "Spoof."])["messages"])

    def test_a_model_without_a_projector(self) -> None:
        with pytest.raises(EngineError, match="No projector"):
            projectors(torch.nn.Linear(2, 2))


def test_curves_show_the_losses_their_mean_and_the_dev_split() -> None:
    steps = [float(step) for step in range(1, 41)]
    (plot,) = draw_curves([(step, 4.0 - step / 12) for step in steps], [(0.0, 4.0), (40.0, 1.0)]).axes
    each, mean, dev = plot.get_lines()
    assert list(each.get_xdata()) == steps and list(dev.get_ydata()) == [4.0, 1.0]
    assert np.allclose(mean.get_ydata(), [4.0 - (step - 0.5) / 12 for step in steps[1:]])  # a twentieth of 40 steps
    wild = draw_curves([(1.0, 900.0), *((step, 2.0) for step in steps[1:])], [(0.0, 3.0), (40.0, 2.0)]).axes[0]
    assert wild.get_ylim()[1] < 900
    assert draw_curves([(1.0, 0.0)], [(0.0, 0.0)]).axes[0].get_ylim() == (0, 1)


@pytest.mark.slow
def test_two_processes_learn_alike_and_see_all_of_the_data(recipe: Recipe, spoof_set: Callable[[int], Path],
                                                           tmp_path: Path) -> None:
    """torchrun on the CPU (gloo, DDP): equal parameters in both, and the losses of one process with larger batches."""
    data = spoof_set(16)
    exact = with_values(recipe, pvtm=None, precision="fp32", lora={"rank": 4, "alpha": 8, "dropout": 0}, epochs=2,
                        accumulate=1)
    two = with_values(exact, processes=2)
    (tmp_path / "two.yaml").write_text(two.to_yaml())
    script = tmp_path / "two.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\nimport torch\nfrom visagent.finetune import sft, distributed\n"
        "from visagent.finetune.sft_recipe import read_recipe\nfrom visagent.settings import Settings\n"
        "seen = []\nprepare = sft.optimizer_for\n"
        "sft.optimizer_for = lambda learner, recipe: (seen.append(learner), prepare(learner, recipe))[1]\n"
        "out = Path(sys.argv[2])\n"
        "outcome = sft.fine_tune(read_recipe(sys.argv[1]), Path(sys.argv[3]), out, Settings(device='cpu'))\n"
        "learned = torch.cat([p.detach().flatten() for p in seen[0].parameters() if p.requires_grad])\n"
        "torch.distributed.barrier()\n"
        "(out / f\"rank-{os.environ['RANK']}\").write_bytes(learned.numpy().tobytes())\n"
        "torch.distributed.destroy_process_group()\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"),
                   "PYTHONPATH": str(Path(sft.__file__).parents[2])}
    with (tmp_path / "log.txt").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script),
             str(tmp_path / "two.yaml"), str(tmp_path / "two"), str(data)],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status = started.wait(timeout=600)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)  # the two processes as well
        raise
    assert status == 0, (tmp_path / "log.txt").read_text()[-3000:]
    first, second = ((tmp_path / "two" / f"rank-{rank}").read_bytes() for rank in (0, 1))
    assert first == second and len(first) > 1000
    one = fine_tune(with_values(exact, batch=4), data, tmp_path / "one", CPU)
    rows = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    of_two = replace(one, rows=tuple(rows))
    assert isinstance(of_two, Outcome) and all(math.isfinite(loss) for _, loss in of_two.losses)
    assert [loss for _, loss in of_two.losses] == pytest.approx([loss for _, loss in one.losses], rel=1e-3)
    assert [loss for _, loss in of_two.looks] == pytest.approx([loss for _, loss in one.looks], rel=1e-3)
    assert sum(row.get("pictures", 0) for row in rows) == 32
