"""Files that were changed anywhere, and results of every kind: read and written, or refused."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import example, given
from hypothesis import strategies as st

import napari_kindred as nk
from fuzz.made import cases, of_interest
from napari_kindred.classes.vocabulary.examples import read_examples
from napari_kindred.images.readers import read_image
from napari_kindred.images.stack import ImageStack
from napari_kindred.models.weights import read_header

SUFFIXES = (".tif", ".ome.tif", ".ome.zarr")

LABELS = st.builds(
    lambda shape, dtype, largest, seed: (
        np.random.default_rng(seed).integers(0, largest, shape).astype(dtype)
    ),
    st.lists(st.integers(0, 7), max_size=5).map(tuple),
    st.sampled_from(["u1", "u2", "i4", ">i4", "i8", "u8", "bool", "f4", "O"]),
    st.sampled_from([1, 2, 200, 70_000, 2**31, 2**40]),
    st.integers(0, 3),
)
COLUMN = st.one_of(
    st.lists(st.integers(-(2**60), 2**60), min_size=2, max_size=2),
    st.lists(st.floats(), min_size=2, max_size=2),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=2, max_size=2),
)
TABLES = st.dictionaries(st.text(max_size=5), COLUMN, max_size=3).map(pd.DataFrame)
STEPS = st.one_of(
    st.none(), st.lists(st.floats(0.01, 100), max_size=4).map(tuple),
    st.lists(st.floats(), max_size=3).map(tuple), st.text(max_size=2),
)  # fmt: skip
FACTS = st.dictionaries(
    st.text(max_size=4),
    st.recursive(st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=4)),
                 lambda inner: st.lists(inner, max_size=2), max_leaves=4),
    max_size=2,
)  # fmt: skip


@cases(2)
@given(
    LABELS, TABLES, st.one_of(st.sampled_from(["YX", "TYX", "ZYX", "TZYX"]), st.text(max_size=3)),
    STEPS, st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=4).map(tuple)), FACTS,
    st.sampled_from(SUFFIXES),
)  # fmt: skip
# ValueError: cannot reshape array of size 1 into shape (1,1,1,2,1)
@example(np.ones((1, 1, 2, 1), int), pd.DataFrame(), "TZYX", None, None, {}, ".tif")
# ValueError: shape does not match stored shape
@example(np.ones((1, 1, 2, 1), int), pd.DataFrame(), "TZYX", None, None, {}, ".ome.tif")
# OutputError: damaged (No columns to parse from file)
@example(np.ones((2, 2), int), pd.DataFrame(), "YX", None, None, {}, ".tif")
# rows lost: blank lines were skipped
@example(np.ones((2, 2), int), pd.DataFrame({"a": [None, None]}), "YX", None, None, {}, ".tif")
# a movie of one frame came back as a picture
@example(np.ones((1, 5, 4), int), pd.DataFrame(), "TYX", None, None, {}, ".ome.tif")
def test_a_result_comes_back_as_it_was_or_is_refused(
    labels: Any, table: Any, axes: str, scale: Any, units: Any, facts: Any, suffix: str
) -> None:
    result = nk.Segmentation(labels, table, facts, axes, scale, units)
    with tempfile.TemporaryDirectory() as folder:
        path = of_interest(lambda: result.save(Path(folder, f"a{suffix}")))
        if path is None:
            assert not list(Path(folder).iterdir())
            return
        loaded = nk.load_segmentation(path)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert (loaded.axes, loaded.units) == (axes, units)
    assert loaded.scale == scale or loaded.scale == tuple(map(float, scale))
    assert set(loaded.provenance) == {
        key.encode("utf-8", "backslashreplace").decode() for key in facts
    }
    if len(table.columns):
        assert len(loaded.table) == len(table)


def _written(kind: str) -> bytes:
    """A small image as the bytes of its file."""
    image = (np.indices((6, 16, 16)).sum(0) * 5).astype(np.uint8)
    buffer = io.BytesIO()
    if kind == ".npy":
        np.save(buffer, image)
    elif kind == ".tif":
        tifffile.imwrite(
            buffer,
            image,
            compression="zlib",
            ome=True,
            metadata={
                "axes": "TYX",
                "PhysicalSizeX": 0.5,
                "PhysicalSizeXUnit": "µm",
                "TimeIncrement": 2.0,
            },
        )
    elif kind == ".tiff":
        tifffile.imwrite(
            buffer,
            image,
            imagej=True,
            resolution=(2.0, 2.0),
            metadata={"axes": "TYX", "unit": "um", "finterval": 3.0, "spacing": 2.0},
        )
    elif kind == ".gif":
        iio.imwrite(buffer, image, extension=".gif", plugin="pillow")
    else:
        iio.imwrite(buffer, image[0], extension=kind, plugin="pillow")
    return buffer.getvalue()


KINDS = (".npy", ".tif", ".tiff", ".png", ".gif", ".bmp", ".jpg")
WHOLE = {kind: _written(kind) for kind in KINDS}
CHANGES = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=4)
CUTS = st.one_of(st.none(), st.integers(0, 3000))


def changed(content: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    made = bytearray(content)
    for place, value in changes:
        made[place % len(made)] = value
    return bytes(made[:cut])


@cases(3)
@given(st.sampled_from(KINDS), CHANGES, CUTS)
def test_a_changed_image_file_is_read_or_refused(kind: str, changes: Any, cut: int | None) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"a{kind}")
        path.write_bytes(changed(WHOLE[kind], changes, cut))
        _read_all(path)


def _read_all(path: Path) -> None:
    image = of_interest(lambda: read_image(path))
    if image is None:
        return
    frames = of_interest(lambda: ImageStack.open(image))
    if frames is None:
        return
    if frames.scale is not None:
        assert all(0 < step < np.inf for step in frames.scale)
    if np.prod(frames.shape) < 1 << 20:
        for index in frames.indices():
            raw = of_interest(lambda index=index: frames.read(index))
            assert raw is None or np.isfinite(raw.pixels).all()


@pytest.fixture(scope="module")
def zarr_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result in an OME-Zarr, which is an image as well."""
    labels = np.arange(400, dtype=np.int32).reshape(20, 20) % 7
    table = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
    result = nk.Segmentation(labels, table, {"method": "x"}, "YX", (0.5, 0.5), ("micrometer",) * 2)
    return result.save(tmp_path_factory.mktemp("zarr") / "a.ome.zarr")


@cases(2)
@given(st.integers(0, 20), CHANGES, CUTS)
def test_a_changed_zarr_is_read_or_refused(
    zarr_image: Path, which: int, changes: Any, cut: int | None
) -> None:
    files = sorted(file for file in zarr_image.rglob("*") if file.is_file())
    file = files[which % len(files)]
    whole = file.read_bytes()
    try:
        file.write_bytes(changed(whole, changes, cut))
        _read_all(zarr_image)
        result = of_interest(lambda: nk.load_segmentation(zarr_image))
        assert result is None or result.labels.dtype.kind in "iu"
    finally:
        file.write_bytes(whole)


@pytest.fixture(scope="module")
def vocabulary() -> nk.Vocabulary:
    return nk.Vocabulary.load("microscopy")


@pytest.fixture(scope="module")
def vocabulary_file(
    vocabulary: nk.Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """A vocabulary's file, and how long its header is."""
    path = vocabulary.save(tmp_path_factory.mktemp("words") / "a.kindred")
    read_header(path)
    return path, 8 + int.from_bytes(path.read_bytes()[:8], "little")


@cases(0.5)
@given(CHANGES, st.one_of(st.none(), st.integers(0, 10**6)))
def test_a_changed_vocabulary_is_read_or_refused(
    vocabulary_file: tuple[Path, int], changes: Any, cut: int | None
) -> None:
    path, header = vocabulary_file
    whole = path.read_bytes()
    changes = [(place % header, value) for place, value in changes]
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "b.kindred")
        other.write_bytes(changed(whole, changes, cut))
        found = of_interest(lambda: nk.Vocabulary.load(other))
    if found is not None:
        scores = found.scores(np.zeros((2, found.head.dimension), np.float32))
        assert scores.shape == (2, len(found.names))


CELL = st.one_of(
    st.sampled_from(["a", "a.tif", "b", "cell", "background", "3", "-1", "1e400", "nan", "", ";"]),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
)
HEADS = {
    "index": "name,classes", "points": "name,class,y,x",
    "boxes": "name,class,xmin,ymin,xmax,ymax", "classes": "id,name",
}  # fmt: skip


ROW = st.lists(CELL, min_size=1, max_size=6).map(",".join)
ROWS = st.one_of(st.lists(ROW, max_size=3).map("\n".join), st.binary(max_size=30))


@cases(2)
@given(st.dictionaries(st.sampled_from(sorted(HEADS)), ROWS, max_size=2), st.booleans())
def test_a_folder_of_examples_is_read_or_refused(tables: dict[str, Any], headed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("images", "labels", "cell"):
            (folder / part).mkdir()
            for stem in "ab":
                tifffile.imwrite(folder / part / f"{stem}.tif", np.eye(8, dtype=np.uint8))
        for kind, rows in tables.items():
            head = f"{HEADS[kind]}\n" if headed else ""
            content = rows if isinstance(rows, bytes) else f"{head}{rows}\n".encode()
            (folder / f"{kind}.csv").write_bytes(content)
        examples = of_interest(lambda: read_examples(folder))
        for one in examples or ():
            assert one.source
            with suppress(nk.KindredError):
                list(one.classes())


@cases(0.5)
@given(st.dictionaries(st.text(max_size=4), st.lists(st.one_of(
    st.sampled_from(["nucleus", "Cytoplasm", "no such"]), st.text(max_size=3)), max_size=2),
    max_size=2))  # fmt: skip
def test_groups_of_classes_make_a_vocabulary_or_are_refused(
    vocabulary: nk.Vocabulary, groups: dict[str, list[str]]
) -> None:
    small = nk.Vocabulary(
        vocabulary.entries, vocabulary.head, vocabulary.spec, vocabulary.bags[:4],
        nk.TeachConfig(steps=1, folds=0, hidden=8),
    )  # fmt: skip
    found = of_interest(lambda: small.regroup(groups))
    if found is not None:
        assert len(found.entries) <= len(small.entries)
