"""Tools that correct the objects of a result with the mouse: what each does with a stroke."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError, KindredError
from ...entities.regions import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...entities.click import Outline
    from .click_job import ClickJob
    from .edit_layer import ShownPlane

    Point = tuple[float, float]

TOOLS = {
    "add": "Click an object that was missed, or drag a box around it. Shift+click corrects the "
    "object added last: inside of it a part is taken away, beside it one is added.",
    "split": "Draw a line across an object, or click two places in it.",
    "merge": "Draw a stroke across the objects that are one.",
    "delete": "Click an object; with Shift it is deleted in all frames or slices.",
    "outline": "Draw around a new object.",
}
"""Tooltip of each tool."""

DRAG = 4.0
"""Pixels of the screen from which on a press is a drag."""


@dataclass
class Added:
    """The object that was added last, which further clicks correct."""

    plane: ShownPlane
    prompt: Prompt
    one: int
    before: NDArray[Any]
    outlines: list[Outline]
    number: int = 0

    def stands(self, plane: ShownPlane) -> bool:
        """Whether the object is still as it was added, in the plane that is shown."""
        same = plane.layer is self.plane.layer and plane.index == self.plane.index
        return same and bool((plane.labels == self.one).any())


class Tools:
    """Applies clicks and strokes to the plane that is shown.

    ``tell`` shows a sentence; ``changed`` is called after every edit.
    """

    def __init__(
        self,
        clicks: ClickJob,
        tell: Callable[..., None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clicks, self._tell, self._changed = clicks, tell, changed
        self._first: tuple[ShownPlane, Point] | None = None
        self.last: Added | None = None
        self.choice = 0  # which of the offered outlines the next click takes

    def forget(self) -> None:
        """Begin anew: another tool or layer was chosen."""
        self._first = self.last = None
        self.choice = 0

    def stroke(self, tool: str, plane: ShownPlane, points: list[Point], shift: bool) -> None:
        """Apply a click (a single point) or a drag; faults are told, and change nothing."""
        from ...entities import edits  # scipy and skimage take a while

        try:
            match tool:
                case "add":
                    self._add(plane, points, shift)
                case "split":
                    self._split(plane, points)
                case "merge":
                    self._edit(plane, edits.merge_along(plane.labels, points), "Merged.")
                case "delete":
                    self._delete(plane, points[0], shift)
                case _:
                    new = next(plane.new_ids())
                    added = edits.fill_outline(plane.labels, points, new)
                    self._edit(plane, added, f"Added {new}.")
        except KindredError as error:
            self._tell(str(error), wrong=True)

    def _edit(self, plane: ShownPlane, new: NDArray[Any], text: str) -> None:
        plane.write(new)
        self._tell(f"{text} Ctrl+Z takes it back.")
        self._changed()

    # -- add -------------------------------------------------------------------------------

    def _add(self, plane: ShownPlane, points: list[Point], shift: bool) -> None:
        if len(points) > 1:
            corners = np.array([points[0], points[-1]])
            low, high = corners.min(0), corners.max(0) + 1
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            prompt = Prompt(box=box)
        elif not shift:
            _check_inside(plane, points[0])
            prompt = Prompt(inside=(points[0],))
        else:
            prompt = self._corrected(plane, points[0])
        if not self._clicks.loaded:
            self._tell("Loading the network …")
        labels = plane.labels.copy()
        if shift and self.last is not None:
            labels = self.last.before
        self._clicks.ask(
            plane, prompt, labels, lambda found: self._found(plane, prompt, found, shift)
        )

    def _corrected(self, plane: ShownPlane, point: Point) -> Prompt:
        """Return the clicks on the object added last, and one more."""
        last = self.last
        if last is None or not last.stands(plane) or not last.prompt.inside:
            raise InputError("Click an object first; Shift+click corrects the one added last.")
        _check_inside(plane, point)
        inside, outside = last.prompt.inside, last.prompt.outside
        if plane.labels[round(point[0]), round(point[1])] == last.one:
            return Prompt(inside, (*outside, point))
        return Prompt((*inside, point), outside)

    def _found(
        self, plane: ShownPlane, prompt: Prompt, outlines: list[Outline], shift: bool
    ) -> None:
        if not outlines:
            self._tell("Nothing was found here; drag a box around the object.", wrong=True)
            return
        before, one = plane.labels.copy(), None
        if shift and self.last is not None and self.last.stands(plane):
            before, one = self.last.before, self.last.one
        number = min(self.choice, len(outlines) - 1) if not shift else 0
        self.choice = 0
        self.last = Added(plane, prompt, one or 0, before, outlines, number)
        self._put()

    def _put(self) -> None:
        """Add the chosen outline."""
        from ...entities import edits  # scipy and skimage take a while

        last = self.last
        assert last is not None  # noqa: S101 - the callers have made it
        outline, plane = last.outlines[last.number], last.plane
        point = last.prompt.inside[0] if last.prompt.inside else None
        try:
            one = last.one or plane.id_for(outline.mask, outline.corner)
            new = edits.add_object(last.before, outline.mask, outline.corner, one, point)
        except KindredError as error:
            self._tell(str(error), wrong=True)
            return
        last.one = one
        others = len(last.outlines) - 1
        more = " Alt+N shows the next outline." if others else ""
        self._edit(plane, new, f"Added {one}.{more}")

    def next_outline(self) -> None:
        """Replace the object added last by the next outline that was found for its clicks."""
        last = self.last
        if last is None or not last.stands(last.plane) or len(last.outlines) < 2:
            self._tell("There is no other outline; click an object first.")
            return
        last.number = (last.number + 1) % len(last.outlines)
        self._put()

    # -- others ----------------------------------------------------------------------------

    def _split(self, plane: ShownPlane, points: list[Point]) -> None:
        from ...entities import edits  # scipy and skimage take a while

        if len(points) > 1:
            self._first = None
            self._edit(plane, edits.split_along(plane.labels, points, plane.new_ids()), "Split.")
            return
        first, self._first = self._first, None
        if first is None or first[0].layer is not plane.layer or first[0].index != plane.index:
            _check_inside(plane, points[0])
            self._first = plane, points[0]
            self._tell("Click a second place in the object, in the other part.")
            return
        ids = next(plane.new_ids())
        self._edit(plane, edits.split_between(plane.labels, first[1], points[0], ids), "Split.")

    def _delete(self, plane: ShownPlane, point: Point, everywhere: bool) -> None:
        from ...entities import edits  # scipy and skimage take a while

        found = edits.ids_under(plane.labels, np.array([point], float))
        if not found:
            raise InputError("There is no object here; click inside the one to delete.")
        self.delete(plane, found[0], everywhere)

    def delete(self, plane: ShownPlane, one: int, everywhere: bool = False) -> None:
        """Delete an object in the plane, or in all planes of the layer."""
        planes = plane.planes_with(one) if everywhere else [plane]
        plane.write([(each, np.where(each.labels == one, 0, each.labels)) for each in planes])
        where = f" in {len(planes)} planes" if len(planes) > 1 else ""
        self._tell(f"Deleted {one}{where}. Ctrl+Z takes it back.")
        self._changed()


def _check_inside(plane: ShownPlane, point: Point) -> None:
    """Raise an InputError where a point is outside of the plane."""
    if any(not 0 <= round(at) < size for at, size in zip(point, plane.labels.shape, strict=True)):
        raise InputError("The click is outside of the image; click inside of it.")
