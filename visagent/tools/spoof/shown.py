"""What a person is shown of a screening: the very pictures that the judges were given, and what they marked in them.

Words in a picture can only mislead a model if it can read them, and a fine pattern can only give an attack away if it
is still there: so the reduced views are shown beside what they were made from. No judge of this tool is given SAVP
maps (`visagent.vision.savp`); they belong to models that were tuned with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visagent.evidence import Artifact, ArtifactKind
from visagent.tools.contract import ToolContext
from visagent.tools.spoof.specialist import Opinion
from visagent.tools.spoof.surroundings import Enclosure, Surroundings, wide_view
from visagent.tools.subject import ChosenFace
from visagent.vision.crop import VIEW_DETAIL, ByteImage, View


def show_face(chosen: ChosenFace, view: View, opinion: Opinion, judges: Sequence[str], context: ToolContext
              ) -> tuple[Artifact, ...]:
    """The face view beside the picture it was cut from; and what the specialist marks, if it says spoof.

    Args:
        chosen: The face.
        view: What was judged.
        opinion: The specialist's.
        judges: Ids of the models that were given the view, the specialist's first.
        context: Keeps the pictures.
    """
    given = (f"Before: {chosen.name} in {chosen.image_id}. After: what {' and '.join(judges)} "
             f"{'was' if len(judges) == 1 else 'were'} given, {_size(view)} that hold the detail of "
             f"{min(VIEW_DETAIL, view.side)}; {judges[0]} looks at its mirror image too.")
    shown = [_beside(view, given, chosen, context)]
    if opinion.is_spoof:
        shown.append(_marked(opinion.attacked, f"Where {judges[0]} marks the attack", view, chosen, context))
    return tuple(shown)


def show_surroundings(chosen: ChosenFace, enclosure: Enclosure, surroundings: Surroundings, context: ToolContext
                      ) -> tuple[Artifact, ...]:
    """The wide view beside the picture it was cut from, and what a border is seen to enclose; nothing without one."""
    if enclosure.border == "none":
        return ()
    view, judge = wide_view(chosen.picture.rgb, chosen.face.box, chosen.face.turns), surroundings.identity.id
    given = (f"Before: what is around {chosen.name} in {chosen.image_id}. After: what {judge} was given, "
             f"{_size(view)}, and its mirror image.")
    marked = f"What {judge} takes to be enclosed by a {enclosure.carrier}"
    return _beside(view, given, chosen, context), _marked(enclosure.enclosed, marked, view, chosen, context)


def _beside(view: View, description: str, chosen: ChosenFace, context: ToolContext) -> Artifact:
    return context.keep(_as_in_picture(view.rgb, view), ArtifactKind.comparison, description, image=chosen.image_id,
                        box=view.place)


def _marked(cells: NDArray[np.floating], what: str, view: View, chosen: ChosenFace, context: ToolContext) -> Artifact:
    """The network's own cells, 0 to 1, as they are: whoever shows them may smooth them."""
    heat = np.rint(255 * cells).astype(np.uint8)
    description = f"{what}, the brighter the surer ({cells.shape[0]} x {cells.shape[1]} cells)."
    return context.keep(np.repeat(_as_in_picture(heat, view)[..., None], 3, axis=2), ArtifactKind.mask, description,
                        image=chosen.image_id, box=view.place)


def _size(view: View) -> str:
    side = view.rgb.shape[0]
    return f"{side} x {side} pixels{', turned upright,' if view.turns else ''}"


def _as_in_picture(pixels: ByteImage, view: View) -> ByteImage:
    """Turned back to how the picture lies, for a face that was turned upright."""
    return np.ascontiguousarray(np.rot90(pixels, -view.turns))
