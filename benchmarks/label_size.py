"""How many bytes a label movie takes on disk, next to the image that it belongs to.

    python benchmarks/label_size.py [--data DIR ...] [--out FILE]

Measured are the shipped sample movies with their true labels, and DIR, where there is one, with a
folder ``images`` and a folder ``labels`` of a frame per file.  The labels are written as a result
that is too large for memory is: frame by frame into an OME-Zarr, as int32, with ids that count on
from frame to frame, which compress worst.  The image counts three times: as its pixels are in
memory, as its files are, and compressed by the codec that the labels are compressed by.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from tables import keep, measured_before
from zarr.codecs import ZstdCodec

from napari_kindred.images.image_folder import read_folder
from napari_kindred.images.samples import open_sample, sample_path
from napari_kindred.results.disk_labels import OutputLocation, create_on_disk
from napari_kindred.results.segmentation import empty_table

NAME = "label_size"
SAMPLES = ("nuclei", "phase")


def bytes_in(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def counting_on(frame: np.ndarray, last: int) -> np.ndarray:
    """Return a frame's labels with ids from ``last + 1`` on."""
    _, place = np.unique(np.append(0, frame), return_inverse=True)
    ids = place[1:].reshape(frame.shape).astype(np.int32)
    return np.where(ids > 0, ids + last, 0)


def measure(movie: Any, labels: Any, stored: int) -> dict[str, Any]:
    """Write a movie and its labels, and count their bytes.

    Parameters
    ----------
    movie, labels : array-like, shape (T, Y, X)
    stored : int
        Bytes of the movie's own files.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        array = create_on_disk(
            labels.shape, np.int32, OutputLocation(place / "image", "x", "TYX"), empty_table(True)
        )
        last = 0
        for index in range(len(labels)):
            frame = counting_on(np.asarray(labels[index]), last)
            array[index] = frame
            last = max(last, int(frame.max()))
        written = bytes_in(place / "image x.ome.zarr")
        frames = zarr.create_array(
            place / "movie.zarr",
            shape=movie.shape,
            chunks=(1, *movie.shape[1:]),
            dtype=movie.dtype,
            compressors=ZstdCodec(level=3),
        )
        for index in range(len(movie)):
            frames[index] = np.asarray(movie[index])
        compressed = bytes_in(place / "movie.zarr")
    return {
        "shape": list(movie.shape),
        "dtype": np.dtype(movie.dtype).name,
        "labels": last,
        "image": int(np.prod(movie.shape, dtype=np.int64)) * np.dtype(movie.dtype).itemsize,
        "image_files": stored,
        "image_compressed": compressed,
        "label_movie": written,
    }


def sample(name: str) -> dict[str, Any]:
    """Measure a shipped movie."""
    opened = open_sample(name)
    return measure(opened.data, opened.truth, bytes_in(sample_path(name)))


def folder(path: Path) -> dict[str, Any]:
    """Measure a folder's images and labels."""
    movie, labels = read_folder(path / "images").data, read_folder(path / "labels").data
    return measure(movie, labels, bytes_in(path / "images"))


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    rows = [
        "| movie | pixels | labels | image | its files | compressed alike | label movie | share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in result.items():
        pixels = f"{' × '.join(map(str, found['shape']))} {found['dtype']}"
        sizes = [found[key] for key in ("image", "image_files", "image_compressed", "label_movie")]
        told = " | ".join(f"{size / 1e6:.2f} MB" for size in sizes)
        share = found["label_movie"] / found["image"]
        rows.append(f"| {name} | {pixels} | {found['labels']} | {told} | {100 * share:.1f} % |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders to measure too")
    parser.add_argument("--out", type=Path, help="another JSON file; pages stay as they are")
    given = parser.parse_args()
    result = measured_before(NAME, given.out)
    result |= {name: sample(name) for name in SAMPLES}
    result |= {path.name: folder(path) for path in given.data}
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
