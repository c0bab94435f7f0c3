"""Micro-expressions in a clip: MOL (Shao et al., TPAMI 2025), and what finds them in longer clips."""
