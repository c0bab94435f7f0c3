"""The house: who imports whom, what nobody may write, and that importing visagent is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import visagent

PACKAGE = Path(visagent.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(), str(path)) for path in FILES}
TEST_FILES = sorted(Path(__file__).parent.rglob("*.py"))

BASE = {"errors", "evidence", "media", "settings", "weights"}
SURFACES = {"__main__", "cli", "demo", "serve", "terminal", "ui", "verbs"}
# Each room may import itself and these. `visagent` itself (its version) anybody may.
MAY_IMPORT = {
    "errors": set(),
    "evidence": {"errors"},
    "settings": {"errors"},
    "clip_shelf": set(),
    "media": {"clip_shelf", "errors"},
    "weights": {"errors", "settings"},
    "clips": {"errors", "media"},
    "audit": {"errors"},
    "vision": BASE,
    "gallery": BASE | {"vision", "audit"},  # what is stored of people; knows embeddings and thumbnails
    "tools": BASE | {"clips", "vision", "gallery"},
    "agent": BASE | {"clips", "vision", "tools"},
    "datasets": BASE | {"vision"},
    "finetune": BASE | {"vision", "tools", "agent", "datasets", "evaluation"},  # a recipe measures what it made
    "evaluation": BASE | {"vision", "tools", "agent", "datasets"},
    **dict.fromkeys(SURFACES, BASE | SURFACES | {"clips", "vision", "gallery", "tools", "agent", "datasets",
                                                 "finetune", "evaluation"}),
}
HEAVY = ("alembic", "av", "bitsandbytes", "cryptography", "cv2", "dlib", "gradio", "langchain", "langchain_core",
         "langgraph", "pandas", "peft", "scipy", "skimage", "sqlalchemy", "statsmodels", "torch", "transformers")
CODE_RUNNING_CALLS = {"eval", "exec", "torch.load", "yaml.load"}
CODE_RUNNING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def room_of(module: str) -> str:
    parts = module.removesuffix(".py").split("/")
    return parts[0]


def imported(tree: ast.Module, file: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, at the top or inside functions, relative ones resolved."""
    package = ["visagent", *file.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def test_every_file_belongs_to_a_room() -> None:
    assert {room_of(file) for file in TREES} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("file", [file for file in TREES if file != "__init__.py"])
def test_imports_go_down_only(file: str) -> None:
    room = room_of(file)
    wrong = [f"{file}:{line} imports {name}" for line, name in imported(TREES[file], file)
             if name.startswith("visagent.") and (target := name.split(".")[1]) != "__version__"
             and target not in MAY_IMPORT[room] | {room}]
    assert not wrong


def test_the_rule_would_catch_a_tool_that_imports_the_agent() -> None:
    tree = ast.parse("def f():\n    from visagent.agent import Agent\n    from ..agent.answer import Answer\n")
    assert [name.split(".")[1] for _, name in imported(tree, "tools/spoof/tool.py")] == ["agent", "tools"]
    assert [name.split(".")[1] for _, name in imported(tree, "tools/spoof.py")] == ["agent", "agent"]


def test_no_file_is_over_500_lines() -> None:
    long = [path.name for path in [*FILES, *TEST_FILES] if len(path.read_text().splitlines()) > 500]
    assert not long


def test_nothing_that_runs_code_from_a_file() -> None:
    wrong = []
    for file, tree in TREES.items():
        wrong += [f"{file}:{line} imports {name}" for line, name in imported(tree, file)
                  if name.split(".")[0] in CODE_RUNNING]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                wrong += [f"{file}:{node.lineno} calls {called}"] if called in CODE_RUNNING_CALLS else []
                wrong += [f"{file}:{node.lineno} sets {word.arg}" for word in node.keywords
                          if word.arg in ("trust_remote_code", "allow_pickle")
                          and not (isinstance(word.value, ast.Constant) and word.value.value is False)]
    assert not wrong


def test_only_command_lines_print() -> None:
    """The rooms that are one, and `main` of a recipe or benchmark that is run with `python -m`."""
    wrong = []
    for file, tree in TREES.items():
        if room_of(file) not in ("cli", "demo", "terminal"):
            mains = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"
                     and room_of(file) in ("finetune", "evaluation")]
            allowed = {node for main in mains for node in ast.walk(main)}
            wrong += [f"{file}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Call)
                      and ast.unparse(node.func) == "print" and node not in allowed]
    assert not wrong


def test_nobody_names_this_workplace() -> None:
    words = ("/" + "work/", "/" + "root/", "/" + "home/")
    assert not [path.name for path in FILES for word in words if word in path.read_text()]


def test_the_public_names_are_there() -> None:
    assert set(visagent.__all__) == {"Agent", "Answer", "Finding", "Settings", "__version__", "enrol", "expression",
                                     "faces", "forget", "identify", "load_picture", "people", "spoof", "verify"}
    for name in visagent.__all__:
        assert getattr(visagent, name) is not None
    assert dir(visagent) == sorted(visagent.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        visagent.nothing_like_it  # noqa: B018


@pytest.mark.parametrize("statement", [
    "import visagent", "from visagent import Settings, load_picture, Finding", "import visagent.weights",
    "import visagent.tools.contract, visagent.tools.models", "from visagent.tools import TOOLS",
    "import visagent.cli",
])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
