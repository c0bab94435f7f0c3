"""The fairness module: a small network after a frozen encoder that brings groups' error rates together. NumPy only.

Centroid Fairness (Conti and Clemencon, arXiv 2504.19370): trained once with group labels
(`visagent.finetune.centroid_fairness`), used without them. It changes embeddings, so what it gives has a contract of
its own: galleries are re-encoded and thresholds calibrated anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from visagent.errors import ContractMismatch, WeightsError
from visagent.vision.align import ChipTemplate
from visagent.vision.crop import ByteImage
from visagent.vision.encoder import EmbeddingContract, Embeddings, Encoder, of_length_one
from visagent.weights import sha256_of

WEIGHTS_FILE: Final = "model.safetensors"
CARD_FILE: Final = "module.json"


@dataclass(frozen=True, slots=True, eq=False)
class FairnessModule:
    """z = x + W2 relu(W1 x + b1) + b2, scaled to length 1.

    Attributes:
        first: W1, float32 `[H, D]`.
        first_bias: b1, `[H]`.
        second: W2, `[D, H]`.
        second_bias: b2, `[D]`.
        contract: Of the embeddings that it takes.
        digest: SHA-256 of its weights, first 16 hex digits.
    """

    first: Embeddings
    first_bias: Embeddings
    second: Embeddings
    second_bias: Embeddings
    contract: EmbeddingContract
    digest: str

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """Changed embeddings, float32 `[N, D]` of length 1, of embeddings `[N, D]` of length 1."""
        hidden = np.maximum(embeddings @ self.first.T + self.first_bias, 0)
        return of_length_one(embeddings + hidden @ self.second.T + self.second_bias)

    @property
    def changed_contract(self) -> EmbeddingContract:
        """What changed embeddings may be compared with."""
        before = self.contract
        return before.model_copy(update={
            "model": f"{before.model} + fairness module",
            "preprocessing": f"{before.preprocessing}; then the fairness module {self.digest}"})


class FairEncoder:
    """An encoder with a fairness module behind it.

    Raises:
        ContractMismatch: The module was trained for another encoder.
    """

    def __init__(self, encoder: Encoder, module: FairnessModule) -> None:
        if module.contract.id != encoder.contract.id:
            raise ContractMismatch(f"The fairness module was trained for {module.contract}, and the encoder in use is "
                                   f"{encoder.contract}.")
        self._encoder, self._module = encoder, module

    @property
    def contract(self) -> EmbeddingContract:
        """Of the changed embeddings."""
        return self._module.changed_contract

    @property
    def template(self) -> ChipTemplate:
        """The encoder's."""
        return self._encoder.template

    def encode(self, chips: Sequence[ByteImage]) -> Embeddings:
        """Changed embeddings of chips."""
        return self._module(self._encoder.encode(chips))


def save_fairness_module(folder: Path, tensors: dict[str, np.ndarray[Any, Any]], contract: EmbeddingContract,
                         facts: dict[str, object]) -> FairnessModule:
    """Write a module's folder: weights, contract, and how it was made."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()},
              folder / WEIGHTS_FILE)
    card = {"contract": contract.model_dump(), **facts}
    (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return load_fairness_module(folder)


def load_fairness_module(folder: Path) -> FairnessModule:
    """Read a module's folder. Raises WeightsError."""
    from safetensors.numpy import load_file

    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        contract = EmbeddingContract.model_validate(card["contract"])
        tensors = load_file(folder / WEIGHTS_FILE)
        first, first_bias, second, second_bias = (tensors[name] for name in ("first", "first_bias", "second",
                                                                             "second_bias"))
    except Exception:  # safetensors raises its own kind beside the system's
        raise WeightsError("The fairness module is missing or damaged; name the folder that `visagent fairness train` "
                           "wrote.") from None
    size = contract.dimension
    if first.shape != (len(first_bias), size) or second.shape != (size, len(first_bias)) \
            or second_bias.shape != (size,):
        raise WeightsError("The fairness module's weights do not fit together, or its contract; train it anew.")
    return FairnessModule(first, first_bias, second, second_bias, contract,
                          sha256_of(folder / WEIGHTS_FILE)[:16])
