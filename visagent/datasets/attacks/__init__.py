"""Simulated presentation attacks on live face pictures, by two renderers that share nothing but the camera."""

from visagent.datasets.attacks.presentation import (
    ATTACK_TYPES,
    CLUES,
    LOCALISED,
    Landmarks,
    Presentation,
    scene_of,
)

__all__ = ["ATTACK_TYPES", "CLUES", "LOCALISED", "Landmarks", "Presentation", "scene_of"]
