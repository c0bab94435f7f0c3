"""One fairness module from a table to a folder: split, train, compare on people that it never saw, save."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from visagent.datasets.embedding_table import EmbeddingTable
from visagent.evaluation.calibrate import equal_error_rate, split_people
from visagent.evaluation.fairness import compare_groups, fairness_report
from visagent.evaluation.fairness_text import compare, for_json
from visagent.finetune.centroid_fairness import Epoch, FairnessRecipe, train_module
from visagent.vision.encoder import EmbeddingContract
from visagent.vision.fairness_module import save_fairness_module

ALPHAS = (1e-2, 1e-3)


def train_and_compare(table: EmbeddingTable, recipe: FairnessRecipe, out: Path,
                      say: Callable[[str], None] = lambda text: None) -> str:
    """Train on one half of the people, compare on the other, write the module and `fairness.json`; the comparison.

    Raises:
        AnalysisError: Too few groups or people.
    """
    learn, test = split_people(table, recipe.seed)

    def told(epoch: Epoch) -> None:
        say(f"epoch {epoch.number}: loss {epoch.loss:.5f}, kept aside BFAR {epoch.bfar:.2f}, BFRR {epoch.bfrr:.2f}, "
            f"FRR {epoch.frr:.4f}")

    trained = train_module(learn, recipe, told)
    contract = table.contract or EmbeddingContract(
        model="embeddings of a table", digest="0" * 16, dimension=table.embeddings.shape[1], alignment="not known",
        preprocessing="not known")
    module = save_fairness_module(out, dict(trained.tensors), contract, {
        "recipe": asdict(recipe), "reference": trained.reference, "epoch": trained.chosen.number,
        "people": len(set(learn.identities.tolist())), "method": "Centroid Fairness, arXiv 2504.19370"})
    before, after = compare_groups(test), compare_groups(test.with_embeddings(module(test.embeddings)))
    texts, reports = [], []
    for alpha in sorted({*ALPHAS, recipe.alpha}, reverse=True):
        pair = fairness_report(before, alpha, resamples=300), fairness_report(after, alpha, resamples=300)
        texts.append(compare(*pair))
        reports.append([for_json(report) for report in pair])
    eer = equal_error_rate(before.all)[0], equal_error_rate(after.all)[0]
    texts.append(f"Global EER {eer[0]:.4f} before, {eer[1]:.4f} after. Reference group: {trained.reference}; epoch "
                 f"{trained.chosen.number} of {recipe.epochs} chosen on people kept aside.")
    (out / "fairness.json").write_text(json.dumps({"eer": eer, "reports": reports}, indent=2) + "\n",
                                       encoding="utf-8")
    return "\n\n".join(texts)

