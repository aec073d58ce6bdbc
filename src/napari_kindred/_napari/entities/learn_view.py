"""What was corrected in the window, and the view of learning from it. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon

from ...core.errors import InputError
from ...images.stack import ImageStack
from ..common.job_view import JobView, duration
from ..common.layers import KEY, read_layer
from ..common.proxies import level_0

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ...core.events import Event, Metrics, Progress
    from ...entities.learning.config import LearnConfig
    from ...entities.learning.files import FineTuned

Index = tuple[int, ...]

ROUND = 64
"""Number of corners of an ellipse."""


@dataclass(frozen=True)
class CorrectedFrame:
    """A corrected frame: where its pixels are read, its labels now (Y, X), what of it counts."""

    stack: ImageStack
    index: Index
    labels: Any
    mask: Any


@dataclass(frozen=True)
class Corrected:
    """A Labels layer that was corrected, and the image that it was made of."""

    layer: Any
    stack: ImageStack

    @classmethod
    def of(cls, viewer: Any, layer: Any, chosen: Callable[[], ImageStack]) -> Corrected:
        """Find the image of a layer: what it was made of, else the one that is chosen."""
        facts = layer.metadata.get(KEY, {})
        images = [
            one
            for one in viewer.layers
            if one.name == facts.get("source_layer") and hasattr(one, "rgb")
        ]
        if images:
            options = facts.get("config", {})
            image = read_layer(images[0], viewer.dims.axis_labels)
            stack = ImageStack.open(image.file, options.get("axes"), options.get("channel"))
        else:
            stack = chosen()
        sizes = [size for size in level_0(layer).shape if size > 1]
        if sizes != [size for size in stack.output_shape if size > 1]:
            raise InputError(
                f"The labels {layer.name!r} do not have the shape of their image, "
                f"{stack.output_shape}; choose that image above."
            )
        return cls(layer, stack)

    def shown(self, viewer: Any) -> Index:
        """Return the frame that is shown."""
        shape = level_0(self.layer).shape
        step = viewer.dims.current_step[-len(shape) :]
        place = [min(int(n), size - 1) for n, size in zip(step, shape, strict=True)]
        count = int(np.ravel_multi_index(place[:-2], shape[:-2])) if len(shape) > 2 else 0
        return self._index(count)

    def numbers(self, numbers: Sequence[int]) -> list[Index]:
        """Return frames by their numbers, from 0; InputError if one of them is not there."""
        wrong = [number for number in numbers if not 0 <= number < len(self.stack)]
        if wrong or not numbers:
            raise InputError(
                f"Enter frames from 0 to {len(self.stack) - 1}, such as 0-3, 7."
                + (f" There is no frame {wrong[0]}." if wrong else "")
            )
        return [self._index(number) for number in numbers]

    def painted(self) -> list[Index]:
        """Return the frames that were painted on."""
        edited = self.layer.metadata.get(KEY, {}).get("edited", {})
        return self.numbers(edited["frames"]) if edited.get("frames") else []

    def labelled(self) -> list[Index]:
        """Return the frames that have labels."""
        return [index for index in self.stack.indices() if np.any(self._labels(index))]

    def frames(self, indices: Sequence[Index], masks: Sequence[Any] = ()) -> list[CorrectedFrame]:
        """Return frames with their labels as they are now; ``masks`` tell what of them counts."""
        given = masks or [None] * len(indices)
        return [
            CorrectedFrame(self.stack, index, self._labels(index).copy(), mask)
            for index, mask in zip(indices, given, strict=True)
        ]

    def inside(self, shapes: Any, shown: Index) -> list[CorrectedFrame]:
        """Return the frames on which shapes were drawn, of which the inside of those counts."""
        masks: dict[Index, Any] = {}
        for index, outline in self._outlines(shapes, shown):
            mask = masks.setdefault(index, np.zeros(self.stack.plane_shape, bool))
            mask[polygon(outline[:, 0], outline[:, 1], mask.shape)] = True
        masks = {index: mask for index, mask in masks.items() if mask.any()}
        if not masks:
            raise InputError(f"Draw around what you have checked, in the layer {shapes.name!r}.")
        return self.frames(list(masks), list(masks.values()))

    def _outlines(self, shapes: Any, shown: Index) -> list[tuple[Index, Any]]:
        """Return each shape's frame and corners (y, x) in pixels of the labels."""
        found = []
        for corners, kind in zip(shapes.data, shapes.shape_type, strict=True):
            points = np.asarray(corners, float)
            if kind == "ellipse":
                middle, first, second = points.mean(0), points[1] - points[0], points[3] - points[0]
                turn = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)[:, None]
                points = middle + np.cos(turn) * first / 2 + np.sin(turn) * second / 2
            elif kind not in ("rectangle", "polygon"):
                continue  # a line has no inside
            world = np.array([shapes.data_to_world(point) for point in points])
            missing = self.layer.ndim - world.shape[1]
            if missing > 0:  # drawn for all frames: what is seen is meant
                front = np.zeros((len(world), missing))
                local = self._to_data(np.hstack([front, world]))
                found.append((shown, local[:, -2:]))
                continue
            local = self._to_data(world[:, -self.layer.ndim :])
            shape = level_0(self.layer).shape[:-2]
            place = [int(np.rint(value)) for value in local[0, :-2]]
            if all(0 <= n < size for n, size in zip(place, shape, strict=True)):
                number = int(np.ravel_multi_index(place, shape)) if shape else 0
                found.append((self._index(number), local[:, -2:]))
        return found

    def _to_data(self, world: Any) -> Any:
        return np.array([self.layer.world_to_data(point) for point in world])

    def _index(self, number: int) -> Index:
        leading = self.stack.leading_shape
        return tuple(int(n) for n in np.unravel_index(number, leading)) if leading else ()

    def _labels(self, index: Index) -> Any:
        data, leading = level_0(self.layer), self.stack.leading_shape
        number = int(np.ravel_multi_index(index, leading)) if leading else 0
        shape = data.shape[:-2]
        place = np.unravel_index(number, shape) if shape else ()
        return np.asarray(data[tuple(int(n) for n in place)])


class Snapshots:
    """Labels of some frames of an image as they were, in the shape of all of its labels."""

    def __init__(self, frames: Sequence[CorrectedFrame]) -> None:
        self._labels = {frame.index: frame.labels for frame in frames}
        self.shape = frames[0].stack.output_shape
        self.dtype = frames[0].labels.dtype

    def __getitem__(self, index: Index) -> Any:
        return self._labels[index]


def iter_learn(
    frames: Sequence[CorrectedFrame], weights: str, name: str, config: LearnConfig
) -> Generator[Event, None, FineTuned]:
    """Learn from corrected frames; called in another thread."""
    from ...entities.learning.fine_tune import iter_fine_tune

    images: dict[int, list[CorrectedFrame]] = {}
    for frame in frames:
        images.setdefault(id(frame.stack), []).append(frame)
    return iter_fine_tune(
        [own[0].stack for own in images.values()],
        [Snapshots(own) for own in images.values()],
        [{frame.index: frame.mask for frame in own} for own in images.values()],
        weights,
        name=name,
        config=config,
    )


def read_numbers(text: str) -> list[int]:
    """Return the numbers that a text such as ``0-3, 7`` names; InputError for another text."""
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError("Enter the numbers of frames, such as 0-3, 7.")
        numbers |= set(range(int(first), int(last or first) + 1))
    return sorted(numbers)


class LearnView(JobView):
    """View of learning: the loss and the scores as they come; there is no layer to show."""

    def __init__(self, layer: Any, on_learnt: Callable[[FineTuned], None]) -> None:
        super().__init__()
        self.layer, self._source, self._on_learnt = layer, layer.name, on_learnt
        self.losses: list[float] = []
        self.scores: list[float] = []

    @property
    def source(self) -> str:
        """Name of the labels."""
        return str(self._source)

    def measured(self, metrics: Metrics) -> None:
        """Note a loss or a score."""
        if "loss" in metrics.values:
            self.losses.append(metrics.values["loss"])
        if "AP50" in metrics.values:
            self.scores.append(metrics.values["AP50"])

    def progress(self, event: Progress) -> str:
        """Return what is done, the loss, and the score before and now."""
        text = super().progress(event)
        if self.losses:
            text += f" Loss {self.losses[0]:.2f} → {self.losses[-1]:.2f}."
        if self.scores:
            now = f" → {self.scores[-1]:.2f}" if len(self.scores) > 1 else " before"
            text += f" AP50 of the objects held back {self.scores[0]:.2f}{now}."
        return text

    def finish(self, result: FineTuned) -> str:
        """Hand the weights on, and tell both scores and what was kept."""
        self._on_learnt(result)
        seconds = duration(self._clock.seconds())
        then = "Run uses it from now on." if result.kept else "More corrections may help."
        return f"{result.summary()} {then} It took {seconds}."

    def interrupt(self, reason: str) -> str:  # noqa: ARG002 - nothing of a learning is kept
        """Tell that nothing changed."""
        return "The weights are as before."
