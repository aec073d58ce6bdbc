"""The scale of a stack: given, or chosen by its first frame with objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.events import Notice, Progress, within_stack
from .auto_scale import choose_scale
from .diameter import in_words, pixel_size
from .frame_tasks import Frame
from .segment import quick_segmenter

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..core.events import Event
    from ..images.stack import ImageStack
    from .frame_tasks import TaskContext


def iter_scale(
    frames: ImageStack, context: TaskContext, side: int
) -> Generator[Event, None, tuple[int, float, float | None]]:
    """Choose a scale by the first frame in which there is something.

    Returns the number of that frame, the scale, and the diameter of the objects in pixels, None if
    the scale was given.
    """
    if context.config.scale != "auto":
        return 0, float(context.config.scale), None
    diameter: float | None = None
    for number, index in enumerate(frames.indices()):
        yield Progress(0, len(frames), "reading", 0, len(frames))
        frame = Frame(frames, index, side)
        if frame.constant:
            continue
        chosen = choose_scale(
            frame.pixels, quick_segmenter(context.network, context.config), frame.shrunk
        )
        scale, diameter = yield from within_stack(chosen, 0, len(frames))
        if frame.faint:  # enlarged noise looks like cells
            scale = min(scale, 1.0)
        yield Notice(scale_note(frames, scale, diameter))
        if diameter:
            return number, scale, diameter
    return len(frames), 1.0, diameter


def scale_note(frames: ImageStack, scale: float, diameter: float) -> str:
    """Return what was measured, one sentence."""
    if not diameter:
        return "No entities seen at any scale; looking at the image as it is."
    size = pixel_size(frames.scale, frames.units)
    kept = " Measured in one frame, and kept for all." if len(frames) > 1 else ""
    return f"Scale {scale:g}: entities are about {in_words(diameter, size)} across.{kept}"
