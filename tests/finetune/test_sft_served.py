"""A trained adapter is served by name from vLLM and says, word for word, what the local engine says with it.

Runs where `VLLM_PYTHON` names the Python of an environment that holds vLLM; `docs/vllm.md` says how to make one.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from visagent import weights
from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.nano_examples import EXPRESSION_QUESTION, SPOOF_QUESTION, look_messages
from visagent.finetune.sft import fine_tune
from visagent.finetune.sft_recipe import read_recipe
from visagent.settings import Settings, load_settings

from ..agent.test_vllm_parity import VLLM_PYTHON, _end, _wait_until_healthy, drawing, portrait
from .conftest import write_set

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.weights,
              pytest.mark.skipif(not VLLM_PYTHON, reason="VLLM_PYTHON names no environment with vLLM")]

ANSWER = "Spoof: tattoo attack. I see ink lines on the skin."
VIEWS = [np.asarray(portrait().resize((192, 192))), np.asarray(drawing().resize((192, 192)))]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped nano, on its way to seeing tattoos in both pictures."""
    import datasets
    from accelerate.state import AcceleratorState

    folder = tmp_path_factory.mktemp("served")
    answer = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
    messages = [{**message, "content": [{"text": None, **part} for part in message["content"]]}  # type: ignore[attr-defined]
                for message in look_messages(SPOOF_QUESTION)]
    samples = [{"images": [VIEWS[number % 2]], "messages": [*messages, answer]} for number in range(32)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        AcceleratorState._reset_state(reset_partial_state=True)
        data = write_set(folder / "set", {"train": samples, "dev": samples[:4]})
        recipe = read_recipe("faceshield-nano-lora").model_copy(update={"epochs": 12.0, "evaluate_every": 24})
        outcome = fine_tune(recipe, data, folder / "run", Settings(device="cpu"))
        AcceleratorState._reset_state(reset_partial_state=True)
    assert outcome.best[1] < outcome.looks[0][1] / 2
    return outcome.folder


@pytest.fixture(scope="module")
def server(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
                   "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                   "VLLM_CPU_OMP_THREADS_BIND": cores}
    command = [VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model",
               str(weights.locate("visagent-nano")), "--served-model-name", "visagent-nano", "--host", "127.0.0.1",
               "--port", str(port), "--dtype", "float32", "--enforce-eager", "--limit-mm-per-prompt", '{"image": 16}',
               "--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"{adapter.name}={adapter}"]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                                   start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as client:
            _wait_until_healthy(client, process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _end(process)


@pytest.fixture(scope="module")
def served(server: str) -> Iterator[Callable[[str], Engine]]:
    """Opens the vllm engine on a model of the server."""
    opened = []

    def ask(model: str) -> Engine:
        opened.append(open_engine(load_settings({"engine": "vllm", "model": model, "server_url": server,
                                                 "timeout_seconds": 600.0})))
        return opened[-1]

    yield ask
    for engine in opened:
        engine.close()


def local(adapter: Path | None) -> Engine:
    return open_engine(Settings(model="visagent-nano", adapter=adapter, device="cpu"))


@pytest.mark.parametrize("question", [SPOOF_QUESTION, EXPRESSION_QUESTION], ids=["spoof", "expression"])
def test_the_server_says_what_the_local_engine_says(question: str, adapter: Path,
                                                    served: Callable[[str], Engine]) -> None:
    """Asked by the adapter's folder: the server knows its last part, and the profile lies in it."""
    here, there = local(adapter), served(str(adapter))
    assert (there.view, there.boxes.scale) == ("face", 1000)
    for view in VIEWS:
        assert here.look(question, [view]) == there.look(question, [view])


def test_the_adapter_is_what_speaks_and_the_plain_model_is_served_beside_it(
        adapter: Path, served: Callable[[str], Engine]) -> None:
    plain = served("visagent-nano").look(SPOOF_QUESTION, [VIEWS[0]]).text
    assert plain == local(None).look(SPOOF_QUESTION, [VIEWS[0]]).text
    assert served(adapter.name).look(SPOOF_QUESTION, [VIEWS[0]]).text != plain
