"""What private recognition costs beside phe, pypaillier and TenSEAL, and that it is exact, in one run on one machine.

    pip install phe pypaillier tenseal
    python benchmarks/private_match.py --embeddings lfw.parquet

Takes half an hour on two cores; `--quick` under two minutes, with fewer people and rounds. It has four parts, of
which `--only` chooses:

- `primitives`: one operation on ciphertexts, every library in one process on one core, in turn in every round.
- `searches`: one among N made-up faces of 128 numbers, by two server processes of one core each on this machine, from
  the user's embedding to the name; beside phe, TenSEAL and numpy in one process on one core. The bytes of visagent's
  three ways are counted on the wire and in the files, those of the others are of their messages.
- `exactness`: random pairs and pairs of LFW (a table of `visagent embed`) beside whole-number arithmetic in the clear.
- `growth`: time by number of people and length of the key, a fit, a million people, and a picture.

Times are medians. A star marks what was not run but multiplied up from fewer people. A library that is not installed
is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import private_match_exactness as exactness
import private_match_growth as growth
import private_match_primitives as primitives
import private_match_searches as searches
from private_match_timing import machine

PARTS = ("primitives", "searches", "exactness", "growth")
QUICK = {"rounds": 3, "keys": 1, "sizes": [100], "reference": [8], "pairs": 500, "sample": 10, "limit": 10.0,
         "growth_shared": [100, 1000, 10_000], "growth_packed": [31, 100], "growth_reference": [4],
         "bits": [2048], "image": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="small numbers for all options that are not given")
    parser.add_argument("--bits", type=int, nargs="+", default=[2048, 3072], help="of keys; searches take the first")
    parser.add_argument("--rounds", type=int, default=15, help="of which medians are taken; primitives take "
                        "three times as many, growth a third")
    parser.add_argument("--keys", type=int, default=5, help="that pypaillier makes; the others make 4 times as many")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000], help="people to search among")
    parser.add_argument("--reference", type=int, nargs="+", default=[32, 100], help="people for Pura's protocols; "
                        "1000 take 5 minutes for each query")
    parser.add_argument("--reference-rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=10_000, help="to check")
    parser.add_argument("--sample", type=int, default=200, help="pairs to check by Pura's protocols")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for each row of the check")
    parser.add_argument("--embeddings", type=Path, help="labelled embeddings, of `visagent embed`")
    parser.add_argument("--growth-shared", type=int, nargs="+", default=[100, 1000, 10_000, 100_000, 1_000_000],
                        help="a million take two minutes to publish, and 2 GB of disk")
    parser.add_argument("--growth-packed", type=int, nargs="+", default=[31, 100, 310, 1000, 3000])
    parser.add_argument("--growth-reference", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--image", type=Path, help="where to draw, such as docs/images/private-match-cost.png")
    given = {name for name, value in vars(parser.parse_args()).items() if value != parser.get_default(name)}
    options = parser.parse_args()
    if options.quick:
        vars(options).update({name: value for name, value in QUICK.items() if name not in given})

    print(f"{machine()}\n", flush=True)
    if "primitives" in options.only:
        primitives.show(options.bits, 3 * options.rounds, options.keys, batch=100)
    if "searches" in options.only:
        searches.show(options.sizes, options.reference, options.rounds,
                      min(options.rounds, options.reference_rounds), options.bits[0])
    if "exactness" in options.only:
        exactness.show(options.pairs, options.sample, options.embeddings, options.limit)
    if "growth" in options.only:
        growth.show({"shared": options.growth_shared, "packed": options.growth_packed,
                     "reference": options.growth_reference}, options.bits, -(-options.rounds // 3), options.image)
    print(machine())


if __name__ == "__main__":
    main()
