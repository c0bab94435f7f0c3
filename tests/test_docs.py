"""What the documents promise: code that runs, links that lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from visagent.cli.options import takes_settings
from visagent.cli.tools import tool_command
from visagent.tools.contract import ToolInput
from visagent.verbs import verb

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "visagent" / "assets" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_the_tool_of_add_a_tool_works_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.tile(np.array([200, 100, 50], np.uint8), (40, 40, 1))).save("photo.jpg", quality=95)
    Image.new("RGB", (40, 40), "gray").save("gray.png")
    Image.new("RGB", (40, 40)).save("black.png")
    page = (ROOT / "docs" / "add-a-tool.md").read_text(encoding="utf-8")
    Path("tint.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), encoding="utf-8")
    module = runpy.run_path("tint.py")
    assert module["finding"].answer == "coloured"

    tool = module["TINT"]
    assert issubclass(tool.input_model, ToolInput)
    assert verb(tool)("gray.png").answer == "gray"
    assert verb(tool)("black.png").reason == "the picture is black"
    app = typer.Typer(rich_markup_mode=None)
    app.command("tint")(takes_settings(tool_command(tool)))
    result = CliRunner().invoke(app, ["gray.png", "--least-tint", "0"])
    assert "gray.png: tint: coloured" in result.stdout
    refused = CliRunner().invoke(app, ["gray.png", "--least-tint", "-3"])
    assert refused.exit_code == 1
    assert "least_tint" in refused.stdout
