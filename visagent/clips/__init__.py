"""Short video clips in, safely: a few of their frames (`load_clip`), or all, one after another (`open_frames`).

As for pictures, everything is refused as early as possible. A process that lives for one clip does the work within
limits of time and memory, so that a hostile file neither hangs nor fills the caller.
"""

from visagent.clips.few import Clip, clip_frames, load_clip, pictures_in
from visagent.clips.files import MAX_BYTES, is_clip, is_clip_file, read_bytes
from visagent.clips.stream import FrameStream, MovingFrame, Whole, open_frames

__all__ = ["MAX_BYTES", "Clip", "FrameStream", "MovingFrame", "Whole", "clip_frames", "is_clip", "is_clip_file",
           "load_clip", "open_frames", "pictures_in", "read_bytes"]
