"""Micro-expression data: readers of the licensed sets, and a simulator that needs none."""
