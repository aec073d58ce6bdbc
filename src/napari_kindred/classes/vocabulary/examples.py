"""Examples that classes are trained on: images that are named as a whole, or annotated."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...images.label_files import read_labels
from ...images.readers import is_image, is_there, list_images, read_image, stem_of
from ..class_table import UNKNOWN, read_class_table
from ..names import check_names, key, tidy

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND = ("background", "nothing")
"""Names that stand for none of the classes, so that background can be annotated too."""

MARKS = {"points": ("y", "x"), "boxes": ("ymin", "xmin", "ymax", "xmax")}
"""Columns of the tables of annotations."""

LAYOUTS = (
    "a folder per class, or images with an index.csv (name, classes), a points.csv "
    "(name, class, y, x), a boxes.csv (name, class, xmin, ymin, xmax, ymax), or images/, labels/ "
    "and classes.csv (id, name)"
)
"""Possible layouts of a folder of examples."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its annotations.

    Attributes
    ----------
    image : array-like
        One image: ``YX``, ``CYX`` or ``YXS``.
    axes : str or None
        One letter per axis of the image; guessed if None.
    names : tuple of str
        Classes that the image holds somewhere, and no others; empty if unknown.  Only
        ``"background"`` means that it holds none.
    points : dict of str to array-like, shape (P, 2)
        (y, x) in pixels, on objects of the class; those of ``"background"`` are on none.
    boxes : dict of str to array-like, shape (B, 4)
        (y0, x0, y1, x1) in pixels, around objects of the class.
    labels : ndarray of int, shape (Y, X), or None
        Numbers whose names are in ``label_names``; 0, and numbers without a name, are unlabelled.
    label_names : dict of int to str
    complete : bool
        Whether all objects of the classes are annotated, so that the rest is background.
    source : str
        Where it came from, for messages and for the vocabulary.
    """

    image: Any
    axes: str | None = None
    names: tuple[str, ...] = ()
    points: Mapping[str, Any] = field(default_factory=dict)
    boxes: Mapping[str, Any] = field(default_factory=dict)
    labels: NDArray[Any] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    complete: bool = False
    source: str = "example"

    def __post_init__(self) -> None:
        names: Any = self.names
        if isinstance(names, str):  # whose letters would be taken for names
            object.__setattr__(self, "names", (names,))
        for name, fits, what in (
            ("names", _is_words(self.names), "a list of names"),
            ("points", _is_table(self.points, str), "a list of points (y, x) for each name"),
            ("boxes", _is_table(self.boxes, str), "a list of boxes (y0, x0, y1, x1) for each name"),
            (
                "label_names",
                _is_table(self.label_names, int) and _is_words([*self.label_names.values()]),
                "a name for each number",
            ),
        ):
            if not fits:
                raise InputError(f"The {name} of the example {self.source!r} must be {what}.")

    @property
    def marked(self) -> bool:
        """Whether anything in the image is annotated."""
        return bool(self.points or self.boxes or (self.labels is not None and self.label_names))

    def classes(self) -> Iterator[str]:
        """Yield every name that it uses but background; names may repeat."""
        for name in (*self.names, *self.points, *self.boxes, *self.label_names.values()):
            if not is_background(name):
                yield name


def _is_words(names: Any) -> bool:
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


def _is_table(table: Any, kind: type) -> bool:
    kinds = (int, np.integer) if kind is int else (kind,)
    return isinstance(table, Mapping) and all(isinstance(name, kinds) for name in table)


def is_background(name: str) -> bool:
    """Whether a name stands for none of the classes."""
    return key(name) in BACKGROUND


def class_names(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the classes of examples in the order of their first occurrence."""
    names: dict[str, str] = {}
    count = 0
    for example in examples:
        count += 1
        for name in example.classes():
            check_names([name])
            names.setdefault(key(name), tidy(name))
    if not count:
        raise InputError("There are no examples; give at least one image with marks.")
    if not names:
        raise InputError("The examples name no class; give each a name, or marks with names.")
    return tuple(names.values())


def check_marks(example: Example, shape: tuple[int, int]) -> None:
    """Raise InputError if annotations lie outside their image, or are of a wrong type."""
    size = f"{shape[0]} × {shape[1]} pixels (Y × X)"
    for name, points in example.points.items():
        for y, x in numbers(points, 2, name, example.source):
            if not (-0.5 <= y < shape[0] - 0.5 and -0.5 <= x < shape[1] - 0.5):
                raise InputError(
                    f"A point of {name!r} at y={y:g}, x={x:g} lies outside the image "
                    f"{example.source!r} of {size}; mark it inside."
                )
    for name, boxes in example.boxes.items():
        for y0, x0, y1, x1 in numbers(boxes, 4, name, example.source):
            if not (y0 < y1 and x0 < x1):
                raise InputError(
                    f"A box of {name!r} in {example.source!r} is empty; boxes are y0, x0, y1, x1 "
                    "with y0 < y1 and x0 < x1."
                )
            if not (y0 < shape[0] and x0 < shape[1] and y1 > 0 and x1 > 0):
                raise InputError(
                    f"A box of {name!r} from y={y0:g}, x={x0:g} to y={y1:g}, x={x1:g} lies outside "
                    f"the image {example.source!r} of {size}; draw it inside."
                )
    if example.labels is None:
        return
    try:
        labels = np.asarray(example.labels)
    except ValueError:  # rows of unlike lengths
        labels = np.zeros(0)
    if labels.shape != shape or labels.dtype.kind not in "bui":
        raise InputError(
            f"The labels of {example.source!r} are {labels.dtype} of shape {labels.shape}; whole "
            f"numbers of the image's {size} are needed."
        )


def numbers(values: Any, width: int, name: str, source: str) -> NDArray[np.float64]:
    """Return points or boxes as an array (N, width) of finite numbers."""
    try:
        array = np.asarray(values, np.float64)
        array = array.reshape(-1, width) if array.size else np.zeros((0, width))
        if not np.isfinite(array).all():
            raise ValueError("not finite")
    except (TypeError, ValueError) as error:
        kind = "points are pairs y, x" if width == 2 else "boxes are y0, x0, y1, x1"
        raise InputError(f"The marks of {name!r} in {source!r} are no numbers; {kind}.") from error
    return array


# -- folders ------------------------------------------------------------------------------------


def as_examples(given: Any) -> Sequence[Example]:
    """Return the given examples, or those in the given folder."""
    if isinstance(given, str | Path):
        return read_examples(given)
    if not isinstance(given, Sequence) or not all(isinstance(one, Example) for one in given):
        raise InputError(
            f"A {type(given).__name__} holds no examples; give a list of Example, or the path of a "
            "folder of them."
        )
    return given


def read_examples(folder: str | Path) -> list[Example]:
    """Read a folder of examples, its images unread until they are used.

    Parameters
    ----------
    folder : str or Path
        Laid out in one of these ways: a folder of images per class; images, in the folder or in
        ``images/``, with any of ``index.csv`` (columns ``name`` and ``classes``, several separated
        by ``;``), ``points.csv`` (``name``, ``class``, ``y``, ``x``) and ``boxes.csv`` (``name``,
        ``class``, ``xmin``, ``ymin``, ``xmax``, ``ymax``); or ``images/``, ``labels/`` and
        ``classes.csv`` (``id``, ``name``), in which everything is labelled.

    Raises
    ------
    InputError
        When it has another layout, or a file in it cannot be used.
    """
    folder = Path(folder)
    if not (is_there(folder) and folder.is_dir()):
        raise InputError(f"There is no folder {str(folder)!r}; give a folder of examples.")
    tables = {name: folder / f"{name}.csv" for name in ("classes", "index", "points", "boxes")}
    if tables["classes"].exists() and (folder / "labels").is_dir():
        return _labelled(folder, tables["classes"])
    tables.pop("classes")
    if any(path.exists() for path in tables.values()):
        return _listed(folder, tables)
    return _by_folder(folder)


def _by_folder(folder: Path) -> list[Example]:
    examples = []
    for part in sorted(path for path in folder.iterdir() if path.is_dir() and not is_image(path)):
        if part.name.startswith("."):
            continue
        name = tidy(part.name.replace("_", " "))
        examples += [
            _example(path, f"{part.name}/{path.name}", names=(name,)) for path in list_images(part)
        ]
    if not examples:
        raise InputError(f"The folder {folder.name!r} holds no examples; it needs {LAYOUTS}.")
    return examples


def _labelled(folder: Path, table: Path) -> list[Example]:
    listed = {number: name for number, name in read_class_table(table).items() if number > 0}
    unknown = [number for number, name in listed.items() if UNKNOWN.search(name)]
    names = {
        number: name
        for number, name in listed.items()
        if number not in unknown and not is_background(name)
    }
    labels = {stem_of(path): path for path in list_images(folder / "labels")}
    examples = []
    for path in list_images(folder / "images"):
        stem = stem_of(path)
        if stem not in labels:
            raise InputError(f"{folder.name}/labels has no label image named {stem!r}.")
        truth = read_labels(labels[stem])
        complete = not np.isin(truth, unknown).any()
        examples.append(
            _example(path, path.name, labels=truth, label_names=names, complete=complete)
        )
    return examples


def _listed(folder: Path, tables: Mapping[str, Path]) -> list[Example]:
    inside = folder / "images"
    images = {stem_of(path): path for path in list_images(inside if inside.is_dir() else folder)}
    found: dict[str, Example] = {}

    def example(row: Mapping[str, str], table: Path) -> tuple[str, Example]:
        stem = stem_of(row["name"])
        if stem not in images:
            raise InputError(f"{table.name} names {row['name']!r}, but there is no such image.")
        return stem, found.get(stem) or _example(images[stem], images[stem].name)

    if tables["index"].exists():
        for row in _rows(tables["index"], ("name", "classes")):
            stem, current = example(row, tables["index"])
            names = tuple(tidy(name) for name in row["classes"].split(";") if name.strip())
            found[stem] = replace(current, names=names)
    for kind, columns in MARKS.items():
        table = tables[kind]
        if not table.exists():
            continue
        for row in _rows(table, ("name", "class", *columns)):
            stem, current = example(row, table)
            marks = getattr(current, kind)
            mark = tuple(_number(row[column], table) for column in columns)
            name = tidy(row["class"])
            marks = {**marks, name: [*marks.get(name, ()), mark]}
            changed: dict[str, Any] = {kind: marks}
            found[stem] = replace(current, **changed)
    return [found[stem] for stem in images if stem in found]


def _example(path: Path, source: str, **more: Any) -> Example:
    image = read_image(path)
    return Example(image, image.axes, source=source, **more)


def _rows(table: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{table.name} lacks the column {missing[0]!r}; its first line must name "
                    f"{', '.join(columns)}."
                )
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise InputError(f"Line {reader.line_num} of {table.name} is cut short.")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table.name} cannot be read as a table; save it as CSV.") from error


def _number(text: str, table: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{text!r} in {table.name} is no number.")
    return value
