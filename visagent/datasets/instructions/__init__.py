"""FaceShield's instruction data from simulated attacks: descriptions to pre-train on, pairs to fine-tune on.

    python -m visagent.datasets.instructions --data ../shared/data --out runs/instructions --pictures 10000 --seed 1

writes `pretrain/` and `sft/` as Hugging Face parquet with a data set card. See docs/instruction-data.md.
"""
