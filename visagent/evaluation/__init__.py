"""Measuring: the field's metrics with their intervals, and one runner for each number that the documents print.

    python -m visagent.evaluation.report --views runs/views --data ../shared/data --out docs/measured.md

runs all of them and writes one page; each runner also stands alone, prints a table, and takes `--json`.
"""
