"""Loading a vision-language model with transformers: dtype, 4-bit weights, LoRA adapter. Safetensors only."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.errors import EngineError, WeightsError
from visagent.evidence import ModelIdentity
from visagent.weights import check_model_folder, resolve_model_folder, weights_digest

if TYPE_CHECKING:
    import torch

    from visagent.settings import Settings

# Modules that look: they stay in full precision, and with them the output layer, as is usual for 4-bit loading.
_KEEP = frozenset({"vision_tower", "vision_model", "visual", "vision_encoder", "image_encoder", "connector",
                   "multi_modal_projector", "multimodal_projector", "mm_projector", "lm_head"})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        model: In eval mode, on its device; with the adapter if there is one.
        processor: Tokenizer, image processor and chat template.
        identity: Id and weights digest; the adapter is part of both.
        folder: Where it was loaded from.
    """

    model: Any
    processor: Any
    identity: ModelIdentity
    folder: Path


def load_model(settings: Settings) -> LoadedModel:
    """Load the model of the settings.

    Raises:
        WeightsError: Missing, or in a refused format.
        EngineError: transformers cannot load it, or a GPU was demanded and there is none.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = resolve_model_folder(settings.model, settings)
    device = choose_device(settings.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    quantisation = quantisation_config(folder, dtype) if settings.load_in_4bit else None
    try:
        processor: Any = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False,
            quantization_config=quantisation, device_map=device if quantisation is not None else None)
    except Exception as error:  # transformers raises anything on a folder that it cannot read
        raise EngineError(f"The model cannot be loaded ({type(error).__name__}); give a vision-language model that "
                          "transformers knows, with its processor.") from error
    if quantisation is None:
        model.to(device)
    else:
        guard_4bit(model)
    identity = _identity(settings.model, folder)
    if settings.adapter is not None:
        model, identity = _with_adapter(model, settings.adapter, identity)
    model.eval()
    return LoadedModel(model=model, processor=processor, identity=identity, folder=folder)


def choose_device(wanted: str) -> torch.device:
    """The device of that setting. Raises EngineError if a GPU is demanded and there is none."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise EngineError("A GPU was demanded, but torch finds none; set the device to 'auto' or 'cpu'.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def quantisation_config(folder: Path, dtype: torch.dtype) -> Any:
    """How to load the folder's language model in 4 bits (nf4, double quantisation), its vision side in full.

    Raises:
        EngineError: bitsandbytes or accelerate is not installed, or the configuration cannot be read.
    """
    import importlib.util

    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig

    if any(importlib.util.find_spec(name) is None for name in ("bitsandbytes", "accelerate")):
        raise EngineError("Loading in 4 bits needs the extra 'quantised': pip install 'visagent[quantised]'.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            skeleton: Any = AutoModelForImageTextToText.from_config(config)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise EngineError(f"The model's configuration cannot be read ({type(error).__name__}).") from error
    # Full names: a bare 'vision_tower' is silently ignored.
    kept = [name for name, _ in skeleton.named_modules() if name.rpartition(".")[2] in _KEEP]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept)


def guard_4bit(model: Any) -> int:
    """Make every 4-bit layer read contiguous inputs, and return how many there are.

    bitsandbytes 0.50's one-row kernel for CPUs with avx512_bf16 looks at the first stride only, and is silently wrong
    on a view.

    Raises:
        EngineError: No layer is in 4 bits.
    """
    from bitsandbytes.nn.modules import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    if not layers:
        raise EngineError("No layer of this model could be loaded in 4 bits; load it without.")
    for layer in layers:
        layer.register_forward_pre_hook(contiguous_input)
    return len(layers)


def contiguous_input(module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The hook of `guard_4bit`."""
    return (arguments[0].contiguous(), *arguments[1:])


def _identity(name: str, folder: Path) -> ModelIdentity:
    # A folder's path must not get into findings: only its last name does.
    return ModelIdentity(id=folder.name if Path(name).expanduser().is_dir() else name, digest=weights_digest(folder))


def _with_adapter(model: Any, adapter: Path, identity: ModelIdentity) -> tuple[Any, ModelIdentity]:
    import importlib.util

    if importlib.util.find_spec("peft") is None:
        raise EngineError("An adapter needs the extra 'adapters': pip install 'visagent[adapters]'.")
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    check_model_folder(adapter, configuration="adapter_config.json")
    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        raise WeightsError("The adapter's folder holds no adapter_model.safetensors; save it with PEFT.")
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 asks transformers 5.2x for an attribute by its old name.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            adapted: Any = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except Exception as error:
        raise EngineError(f"The adapter does not fit this model ({type(error).__name__}).") from error
    with safe_open(file, framework="pt") as tensors:
        stored = set(tensors.keys())
    # PEFT only warns if names do not match, and would then answer with an adapter that does nothing.
    if stored != set(get_peft_model_state_dict(adapted)):
        raise EngineError("The adapter was made for another model: its layers are not those of this one.")
    digest = f"{identity.digest}+{weights_digest(adapter)}" if identity.digest else None
    return adapted, ModelIdentity(id=f"{identity.id}+{adapter.name}", digest=digest)
