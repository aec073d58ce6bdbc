"""Objects of a result, frame by frame, with the outlines, classes and scores that files hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...core.colors import hexadecimal
from ...methods import method_of
from ..outlines import Piece, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..base import Result


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of objects.

    Attributes
    ----------
    name : str
    colour : str
        ``#rrggbb``.
    """

    name: str
    colour: str


@dataclass(frozen=True, slots=True)
class Object:
    """An object of one frame.

    Attributes
    ----------
    label : int
    kind : int
        Place of its class among those of the result.
    mask : ndarray of bool
        Its pixels in ``box``.
    box : tuple of int
        First row, first column, row and column after the last.
    row : dict
        Its row of the table: score, area, …
    """

    label: int
    kind: int
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    row: dict[str, Any]

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    def pieces(self) -> list[Piece]:
        """Return its outlines."""
        return pieces_of(self.mask, self.box[:2])


@dataclass(frozen=True, slots=True)
class Frame:
    """The objects of a frame.

    Attributes
    ----------
    number : int
        Place of the frame in order.
    index : tuple of int
        Along the leading axes of the labels.
    shape : tuple of int
    objects : list of Object
    """

    number: int
    index: tuple[int, ...]
    shape: tuple[int, int]
    objects: list[Object]


class Objects:
    """What of a result is exported: its objects, or its regions if it has none.

    Parameters
    ----------
    result : Segmentation

    Attributes
    ----------
    labels : array-like of int, shape (..., Y, X)
    kinds : list of Kind
    are_regions : bool
        Whether a label is a kind of pixel, whose row of the table is of all frames.
    are_volumes : bool
        Whether objects extend through the slices along ``Z``.
    """

    def __init__(self, result: Result) -> None:
        self.labels, table = result.objects()
        self.table = table if "index" in table else table.assign(index=[])
        method = method_of(result.provenance)
        noun = "object" if method is None else method.noun
        numbers = self.table["frame"] if "frame" in self.table else np.zeros(len(self.table), int)
        self._rows: dict[int, dict[int, dict[str, Any]]] = {}
        for number, row in zip(numbers, self.table.to_dict("records"), strict=True):
            self._rows.setdefault(int(number), {})[int(row["index"])] = {
                str(name): value for name, value in row.items()
            }
        self.are_volumes = "volume" in self.table and result.axes[-3:] == "ZYX"
        self.are_regions = result.ids in ("stack", "class") and self.labels is result.labels
        self._kind_of: dict[int | str, int] = {}
        if self.are_regions:
            rows = self.table.drop_duplicates("index").sort_values("index")
            names = rows["name"] if "name" in rows else [""] * len(rows)
            pairs = list(zip(map(int, rows["index"]), map(str, names), strict=True))
            named = [name or f"{noun} {label}" for label, name in pairs]
            self._kind_of = {label: place for place, (label, _) in enumerate(pairs)}
        elif "name" in self.table:
            given = [str(name) for name in result.provenance.get("names", ())]
            named = list(dict.fromkeys([*given, *map(str, self.table["name"])]))
            self._kind_of = {name: place for place, name in enumerate(named)}
        else:
            named = [noun]
        colours = self._colours(result, len(named))
        self.kinds = [Kind(*pair) for pair in zip(named, colours, strict=True)]

    def _colours(self, result: Result, count: int) -> list[str]:
        found = list(result.table["colour"]) if "colour" in result.table else []
        return [*map(str, found), *map(hexadecimal, range(len(found), count))][:count]

    @property
    def are_named(self) -> bool:
        """Whether objects are of more than the one kind that the method finds."""
        return bool(self._kind_of)

    def frames(self) -> Iterator[Frame]:
        """Yield the objects of each frame, one frame in memory at a time; slices of volumes."""
        slices = self.labels.shape[-3] if self.are_volumes else 1
        for number, index in enumerate(np.ndindex(*self.labels.shape[:-2])):
            plane = np.asarray(self.labels[index])
            found = self._objects(plane, self.rows(number // slices))
            yield Frame(number, index, plane.shape, list(found))

    def rows(self, frame: int) -> dict[int, dict[str, Any]]:
        """Return the rows of a frame or volume by label; those of all if there are no frames."""
        return self._rows.get(frame if "frame" in self.table else 0, {})

    def _objects(self, plane: NDArray[Any], rows: dict[int, dict[str, Any]]) -> Iterator[Object]:
        ids, places = np.unique(plane, return_inverse=True)
        ranks = places.reshape(plane.shape) + (0 if ids[0] <= 0 else 1)
        for rank, place in enumerate(ndimage.find_objects(ranks), start=1):
            label = int(ids[rank - (1 if ids[0] > 0 else 0)])
            if label <= 0 or place is None:
                continue
            row = rows.get(label, {})
            key: Any = label if self.are_regions else str(row.get("name", ""))
            down, right = place
            box = (down.start, right.start, down.stop, right.stop)
            yield Object(label, self._kind_of.get(key, 0), ranks[place] == rank, box, row)


def hex_to_rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of ``#rrggbb``, 0 to 255."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue


def position(axes: str, index: Sequence[int]) -> dict[str, int]:
    """Return a frame's place along each of its leading axes, by their letter."""
    return dict(zip(axes, index, strict=False))
