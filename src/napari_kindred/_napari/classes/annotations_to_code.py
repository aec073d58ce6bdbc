"""Annotations as training examples, and as Python code that makes them. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .annotations import Annotation, FrameAnnotations, Index

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ...classes.vocabulary.examples import Example

Sources = list[tuple[Annotation, FrameAnnotations]]
"""The annotations of one frame, with the layers that they come from."""


def frames_of_annotations(annotations: Iterable[Annotation]) -> list[tuple[Index, Sources]]:
    """Return the annotations by frame; each frame is one example with all its annotations."""
    by_frame: dict[tuple[int, Index], Sources] = {}
    for item in annotations:
        for index, annotated in item.frames.items():
            by_frame.setdefault((id(item.data), index), []).append((item, annotated))
    return [(index, sources) for (_data, index), sources in by_frame.items()]


def examples_of(annotations: Iterable[Annotation]) -> list[Example]:
    """Return one example per annotated frame; a lazy frame may be read."""
    from ...classes.vocabulary.examples import Example

    examples = []
    for index, sources in frames_of_annotations(annotations):
        first = sources[0][0]
        axes, place = _frame_of(first.axes, index)
        labels, names = _painted(sources)
        examples.append(
            Example(
                first.data[place],
                axes=axes,
                points=_by_name(sources, "points"),
                boxes=_by_name(sources, "boxes"),
                labels=labels,
                label_names=names,
                source=" ".join([first.image, *map(str, index)]),
            )
        )
    return examples


def _frame_of(axes: str, index: Index) -> tuple[str, tuple[int | slice, ...]]:
    """Return the axes of one frame of a stack, and the code that selects it."""
    left = iter(index)
    place = tuple(next(left) if letter in "TZ" else slice(None) for letter in axes)
    return "".join(letter for letter in axes if letter not in "TZ"), place


def _by_name(sources: Sources, kind: str) -> dict[str, NDArray[np.float64]]:
    """Return points, or boxes, of each class."""
    rows_by_name: dict[str, list[Any]] = {}
    for item, annotated in sources:
        if getattr(annotated, kind):
            rows_by_name.setdefault(item.name, []).extend(getattr(annotated, kind))
    return {name: np.array(rows, float) for name, rows in rows_by_name.items()}


def _painted(sources: Sources) -> tuple[NDArray[np.int32] | None, dict[int, str]]:
    """Return outlines and labels of all classes in one array, and the name of each id."""
    from skimage.draw import polygon2mask

    data, axes = sources[0][0].data, sources[0][0].axes
    plane = (data.shape[axes.index("Y")], data.shape[axes.index("X")])
    labels = np.zeros(plane, np.int32)
    names: dict[int, str] = {}
    for item, annotated in sources:
        for outline in annotated.outlines:
            number = max(names, default=0) + 1
            labels[polygon2mask(plane, outline)] = number
            names[number] = item.name
        if annotated.labels is not None:
            first = max(names, default=0)
            labels = np.where(annotated.labels > 0, annotated.labels + first, labels)
            names |= dict.fromkeys(np.unique(labels[annotated.labels > 0]).tolist(), item.name)
    return (labels if names else None), names


# -- as code ---------------------------------------------------------------------------------


def example_lines(annotations: Sequence[Annotation]) -> list[str]:
    """Return the lines that make ``examples``, as :func:`examples_of` does."""
    lines, last = [], []
    for number, (index, sources) in enumerate(frames_of_annotations(annotations)):
        more = _painted_lines(sources, number)
        lines += more
        last += [
            "    nk.Example(",
            f"        {_frame_code(sources[0][0], index)},",
            f"        axes={_frame_of(sources[0][0].axes, index)[0]!r},",
            *(
                f"        {kind}={_plain(_by_name(sources, kind))},"
                for kind in ("points", "boxes")
                if _by_name(sources, kind)
            ),
            *([f"        labels=labels{number},"] if more else []),
            *([f"        label_names=names{number},"] if more else []),
            "    ),",
        ]
    code = "\n".join(lines)
    imports = {
        "import numpy as np": "np." in code,
        "from scipy.ndimage import affine_transform": "affine_transform(" in code,
        "from skimage.draw import polygon2mask": "polygon2mask(" in code,
    }
    needed = [line for line, used in imports.items() if used]
    return [*needed, *lines, "examples = [", *last, "]"]


def _frame_code(item: Annotation, index: Index) -> str:
    _axes, place = _frame_of(item.axes, index)
    while place and place[-1] == slice(None):
        place = place[:-1]
    where = ", ".join(":" if isinstance(at, slice) else str(at) for at in place)
    level = "[0]" if item.multiscale else ""
    return f"viewer.layers[{item.image!r}].data{level}" + (f"[{where}]" if where else "")


def _plain(rows: dict[str, NDArray[np.float64]]) -> str:
    return repr({name: values.tolist() for name, values in rows.items()})


def _painted_lines(sources: Sources, number: int) -> list[str]:
    """Return the lines that make ``labels`` and ``names`` of a frame, as :func:`_painted`."""
    if not any(annotated.outlines or annotated.labels is not None for _item, annotated in sources):
        return []
    data, axes = sources[0][0].data, sources[0][0].axes
    plane = (data.shape[axes.index("Y")], data.shape[axes.index("X")])
    labels, names, largest = f"labels{number}", f"names{number}", 0
    lines = [f"{labels}, {names} = np.zeros({plane}, np.int32), {{}}"]
    for item, annotated in sources:
        for outline in annotated.outlines:
            largest += 1
            corners = outline.tolist()
            lines += [
                f"{labels}[polygon2mask({plane}, {corners})] = {largest}",
                f"{names}[{largest}] = {item.name!r}",
            ]
        if annotated.labels is not None:
            lines += [
                f"painted = {annotated.code}",
                f"{labels} = np.where(painted > 0, painted + {largest}, {labels})",
                (
                    f"{names} |= dict.fromkeys(np.unique({labels}[painted > 0]).tolist(), "
                    f"{item.name!r})"
                ),
            ]
            largest += int(annotated.labels.max())
    return lines
