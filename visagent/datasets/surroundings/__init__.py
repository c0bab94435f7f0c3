"""Made pictures of faces with what stands around them: live people in places, and people on screens and sheets.

The picture sets at hand are tight crops, so that the surroundings are composed. Live and attack differ in one thing
only: whether the border of a screen or sheet encloses what belongs to the face.
"""

from visagent.datasets.surroundings.canvas import SIDE, UNIT
from visagent.datasets.surroundings.people import Head, head_of
from visagent.datasets.surroundings.scenes import KINDS, Scene, attack_scene, live_scene
from visagent.datasets.surroundings.shots import WIDE_GRID, WideShot, wide_shot
from visagent.datasets.surroundings.stage import Stage, set_stage

__all__ = ["KINDS", "SIDE", "UNIT", "WIDE_GRID", "Head", "Scene", "Stage", "WideShot",
           "attack_scene", "head_of", "live_scene", "set_stage", "wide_shot"]
