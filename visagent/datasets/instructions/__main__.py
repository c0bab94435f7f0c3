"""Build FaceShield's instruction data: `python -m visagent.datasets.instructions --data DATA --out OUT`.

    python -m visagent.datasets.instructions --data ../shared/data --out runs/instructions --pictures 10000 --seed 1

A stopped build goes on where it was when the same command is run again. With `--generator` a larger model behind an
OpenAI-compatible server rewords the pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from visagent.datasets.instructions.answers import BoxStyle
from visagent.datasets.instructions.build import build
from visagent.datasets.instructions.card import write_card
from visagent.datasets.instructions.generator import Rewriter
from visagent.datasets.instructions.pictures import Plan
from visagent.datasets.spoof_views import Renderer
from visagent.errors import run_command
from visagent.settings import load_settings


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m visagent.datasets.instructions", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the picture sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--pictures", type=int, default=10_000, help="pictures in all splits together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pictures")
    parser.add_argument("--renderer", choices=get_args(Renderer), default="optical", help="who draws the attacks")
    parser.add_argument(
        "--boxes",
        choices=get_args(BoxStyle),
        default="pixels",
        help="pixels as the paper's, or thousandths of the side (Qwen2-VL, Qwen3-VL, visagent-nano)",
    )
    parser.add_argument(
        "--generator",
        metavar="MODEL_OR_URL",
        help="model (at VISAGENT_SERVER_URL) or base URL of an OpenAI-compatible server that rewords",
    )
    options = parser.parse_args()
    if options.pictures < 25 or options.workers < 1 or options.seed < 0:
        parser.error("--pictures must be at least 25 (one in each split), --workers at least 1, --seed at least 0")
    plan = Plan(options.pictures, options.seed, options.renderer)
    options.out.mkdir(parents=True, exist_ok=True)
    rewriter = None
    if options.generator:
        rewriter = Rewriter(options.generator, load_settings(), options.out / "rewordings.jsonl")
    tallies = build(options.data, options.out, plan, workers=options.workers, boxes=options.boxes, rewriter=rewriter)
    write_card(options.out, plan, options.boxes, tallies, generator=rewriter.model if rewriter else None)


if __name__ == "__main__":
    run_command(main)
