"""Annotations on an image, collected from layers as examples of classes. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points, Shapes

from ...classes.names import key
from ...core.errors import InputError
from ..common.proxies import level_0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

Index = tuple[int, ...]

CORNERS = 48
"""Number of corners of the polygon that approximates an ellipse."""

DIGITS = 3
"""Decimals of positions in pixels; rounded, so that copied code has the same ones."""

ENCLOSING = ("rectangle", "ellipse", "polygon")
"""Shapes that have an inside."""


@dataclass(slots=True, eq=False)
class FrameAnnotations:
    """Annotations of one class in one frame, in its pixels, y before x."""

    points: list[tuple[float, float]] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  # y0 x0 y1 x1
    outlines: list[NDArray[np.float64]] = field(default_factory=list)  # (V, 2) each
    labels: NDArray[np.int32] | None = None  # (Y, X), an id per object
    code: str = ""  # Python that gives the labels

    def __len__(self) -> int:
        painted = 0 if self.labels is None else np.count_nonzero(np.unique(self.labels))
        return len(self.points) + len(self.boxes) + len(self.outlines) + int(painted)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The image that is annotated."""

    layer: Image
    data: Any  # full resolution
    axes: str
    shown: tuple[float, ...]  # the viewer's position, in world coordinates

    @property
    def letters(self) -> str:
        """Axes as the layer has them, without that of RGB colours."""
        return self.axes.removesuffix("S") if self.layer.rgb else self.axes

    def place(self, letters: str) -> list[int]:
        """Return the places of some axes."""
        return [number for number, letter in enumerate(self.letters) if letter in letters]

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width."""
        y, x = self.place("YX")
        return int(self.data.shape[y]), int(self.data.shape[x])


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """Annotations of one layer on one image, as examples of one class."""

    name: str  # of the class
    layer: str
    image: str
    source: tuple[Any, ...]  # the same if the same layer is collected again
    kind: str  # points, shapes or painted objects
    data: Any  # of the image
    axes: str
    multiscale: bool
    frames: dict[Index, FrameAnnotations]  # by the position on the image's leading axes

    def __len__(self) -> int:
        return sum(map(len, self.frames.values()))

    def describe(self) -> str:
        """Return what this is, in one line."""
        of = f" in {len(self.frames)} frames" if len(self.frames) > 1 else ""
        count = f"{len(self)} {self.kind if len(self) != 1 else self.kind.removesuffix('s')}"
        return f"{self.name}: {count}{of} of {self.layer!r}"


def collect(layer: Any, target: Target, name: str) -> Annotation:
    """Collect annotations as examples of a class; of a Labels layer those in the shown frame."""
    frames: dict[Index, FrameAnnotations] = {}
    if isinstance(layer, Points):
        kind = "points"
        for position in layer.data:
            index, spot = _on_image(layer, target, position)
            frames.setdefault(index, FrameAnnotations()).points.append(spot)
    elif isinstance(layer, Shapes):
        kind = "shapes"
        for shape, corners in zip(layer.shape_type, layer.data, strict=True):
            _add_shape(frames, layer, target, shape, corners)
    elif isinstance(layer, Labels):
        kind = "painted objects"
        index, annotated = _labels_on_image(layer, target)
        if len(annotated):
            frames[index] = annotated
    else:
        raise InputError(
            "Select the Points, Shapes or Labels layer with your annotations in the layer list "
            "first."
        )
    if not frames:
        what = "in this frame of it " if isinstance(layer, Labels) else ""
        raise InputError(f"There is nothing {what}to collect in {layer.name!r}; annotate a {name}.")
    return Annotation(
        name,
        layer.name,
        target.layer.name,
        (key(name), layer.unique_id, target.layer.unique_id),
        kind,
        target.data,
        target.axes,
        bool(target.layer.multiscale),
        frames,
    )


def merge_examples(before: Sequence[Annotation], new: Annotation) -> tuple[Annotation, ...]:
    """Return all examples; a layer that is collected again replaces its earlier ones."""
    others = [item for item in before if item.source != new.source]
    return (*others, new)


def painted_classes(
    layer: Labels,
    target: Target,
    names: Mapping[int, str],
    slots: Mapping[Index, tuple[int | slice, ...]],
) -> tuple[Annotation, ...]:
    """Return the strokes of a layer as large as the image, whose numbers are classes.

    ``slots`` are the places of the painted frames in it.
    """
    found = []
    for number, name in names.items():
        frames: dict[Index, FrameAnnotations] = {}
        for index, slot in slots.items():
            here = np.asarray(layer.data[slot]) == number
            if here.any():
                place = ", ".join(":" if isinstance(at, slice) else str(at) for at in slot)
                data = f"viewer.layers[{layer.name!r}].data[{place}]"
                code = f"(np.asarray({data}) == {number}).astype(np.int32)"
                frames[index] = FrameAnnotations(labels=here.astype(np.int32), code=code)
        if frames:
            source = (number, layer.unique_id, target.layer.unique_id)
            multiscale = bool(target.layer.multiscale)
            found.append(
                Annotation(name, layer.name, target.layer.name, source, "painted objects",
                           target.data, target.axes, multiscale, frames)
            )  # fmt: skip
    return tuple(found)


# -- from a layer's pixels to those of the image ---------------------------------------------


def _on_image(
    layer: Any, target: Target, position: Sequence[float]
) -> tuple[Index, tuple[float, float]]:
    """Return the frame and the place in it of a position, or raise an InputError."""
    world = layer.data_to_world(np.asarray(position, float))
    lacking = max(0, target.layer.ndim - len(world))
    ahead = target.shown[-target.layer.ndim :][:lacking]
    inside = np.asarray(target.layer.world_to_data((*ahead, *world)), float)
    index = tuple(round(inside[axis]) for axis in target.place("TZ"))
    y, x = (float(inside[axis]) for axis in target.place("YX"))
    height, width = target.plane
    sizes = [target.data.shape[axis] for axis in target.place("TZ")]
    fits = -0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5
    if not fits or not all(0 <= at < size for at, size in zip(index, sizes, strict=True)):
        where = ", ".join(f"{value:.0f}" for value in (*index, y, x))
        raise InputError(
            f"An annotation of {layer.name!r} at ({where}) is outside of {target.layer.name!r} "
            f"with {' × '.join(map(str, (*sizes, height, width)))} pixels; move it or delete it."
        )
    return index, (round(y, DIGITS), round(x, DIGITS))


def _add_shape(
    frames: dict[Index, FrameAnnotations], layer: Shapes, target: Target, kind: str, corners: Any
) -> None:
    """Add a shape: rectangles along the axes are boxes, all others outlines."""
    if kind not in ENCLOSING:
        raise InputError(
            f"A {kind} in {layer.name!r} encloses nothing; annotate with rectangles, ellipses "
            "or polygons."
        )
    if kind == "ellipse":
        corners = _ellipse(np.asarray(corners, float))
    spots = [_on_image(layer, target, corner) for corner in corners]
    annotated = frames.setdefault(spots[0][0], FrameAnnotations())
    outline = np.array([spot for _index, spot in spots])
    lowest, highest = outline.min(0), outline.max(0)
    if kind == "rectangle" and np.isclose(outline[:, None], [lowest, highest]).any(1).all():
        # Pixels begin half a pixel before their centres.
        annotated.boxes.append((*(lowest + 0.5).tolist(), *(highest + 0.5).tolist()))
    else:
        annotated.outlines.append(outline)


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline of the ellipse in the four corners of its box."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
    centre = corners.mean(0)
    across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    outline: NDArray[np.float64] = centre + np.cos(angle) * across + np.sin(angle) * down
    return outline


def _labels_on_image(layer: Labels, target: Target) -> tuple[Index, FrameAnnotations]:
    """Return the frame that is shown, and the labels on its pixels."""
    from scipy.ndimage import affine_transform

    index, corners = _corners(layer, target)
    level = "[0]" if layer.multiscale else ""
    data = level_0(layer)
    leading = tuple(round(at) for at in corners[0][:-2])
    if not all(0 <= at < size for at, size in zip(leading, data.shape, strict=False)):
        return index, FrameAnnotations()
    labels = np.asarray(data[leading]).astype(np.int32)
    place = f"[{', '.join(map(str, leading))}]" if leading else ""
    code = f"np.asarray(viewer.layers[{layer.name!r}].data{level}{place}).astype(np.int32)"
    matrix = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)[-2:]
    offset, plane = corners[0][-2:], target.plane
    same = np.allclose(matrix, np.eye(2)) and np.allclose(offset, 0) and labels.shape == plane
    if not same:
        labels = affine_transform(labels, matrix, offset, plane, order=0)
        code = f"affine_transform({code}, {matrix.tolist()}, {offset.tolist()}, {plane}, order=0)"
    if layer.show_selected_label:
        labels = np.where(labels == layer.selected_label, labels, 0)
        code = f"(lambda labels: np.where(labels == {layer.selected_label}, labels, 0))({code})"
    return index, FrameAnnotations(labels=labels, code=code)


def _corners(layer: Labels, target: Target) -> tuple[Index, list[NDArray[np.float64]]]:
    """Return the shown frame, and where in the layer's data its first pixel and neighbours are."""
    start = np.asarray(target.layer.world_to_data(target.shown), float)
    leading, (y, x) = target.place("TZ"), target.place("YX")
    index = tuple(
        int(np.clip(round(start[axis]), 0, target.data.shape[axis] - 1)) for axis in leading
    )
    for axis, at in zip(leading, index, strict=True):
        start[axis] = at
    start[[y, x]] = 0
    corners = [start.copy() for _ in range(3)]
    corners[1][y] = corners[2][x] = 1
    positions = (layer.world_to_data(target.layer.data_to_world(corner)) for corner in corners)
    return index, [np.asarray(position, float) for position in positions]
