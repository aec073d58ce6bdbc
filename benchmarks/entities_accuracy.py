"""Accuracy of ``napari-kindred entities`` on pictures that were not trained on.

    python benchmarks/entities_accuracy.py DATA_DIR [--weights NAME_OR_FILE]
    python benchmarks/entities_accuracy.py DATA_DIR --sizes
    python benchmarks/entities_accuracy.py DATA_DIR --views 2
    python benchmarks/entities_accuracy.py DATA_DIR --resolutions 2

``DATA_DIR`` holds some of

* ``dsb2018``: nuclei of the Data Science Bowl 2018 (BBBC038), ``images/``, ``labels/`` and
  ``index.csv`` with ``id``, ``modality_guess`` and ``split``; the images of split ``val``;
* ``usiigaci_phase``: cells in phase contrast (Usiigaci), the images whose names begin with
  ``val``;
* other data folders of the same layout, whose ``index.csv`` has ``name``, ``split`` and ``use``:
  the images of split ``val``, and all of those that may only be measured on (``use`` is
  ``measure``).  Each folder is a row.

The images of each kind go through what the command line runs, with default options, into a
folder of label TIFFs (kept with ``--keep DIR``), and those are scored: AP at an IoU is
TP / (TP + FP + FN), mSA its mean over IoU 0.50 to 0.95, counts summed over a kind's images
(pooled); the means over images, which many papers give, stand beside them.

``--sizes`` rescales pieces of the same pictures until the median diameter is 8 … 120 pixels and
tells AP50 for each size.  ``--views`` looks at mirrored pictures too, ``--resolutions`` at finer
ones.  Results of all are kept in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from meanshift import hardware
from skimage.transform import resize
from tables import keep, measured_before

from napari_kindred import EntityConfig, segment_entities
from napari_kindred.cli import batch
from napari_kindred.cli.tasks import EntityTask
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.stack import list_images, read_image
from napari_kindred.models.download import file_sha256
from napari_kindred.models.training_data import median_diameter
from napari_kindred.models.weights import resolve
from napari_kindred.results.metrics import THRESHOLDS, average_precision, instance_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "entities_accuracy"

SIZES = (8, 15, 30, 60, 120)
"""Median diameters, in pixels, that pictures are rescaled to."""

OPTIONS = ("views", "resolutions")
"""Options of which other values than 1 are a column of a table."""

FIELD = 10
"""Side of the piece of a picture that is rescaled, in median diameters."""

MOST = 12
"""Pictures of a kind that are rescaled."""

KINDS = ("fluorescence", "histology", "brightfield", "phase contrast")


def kind_of(modality: str) -> str:
    """Name of the row that a modality of dsb2018's index belongs to."""
    return next((kind for kind in KINDS if modality.startswith(kind)), modality)


def held_out(data: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Find the pictures to measure on, as pairs of image and label files by kind."""
    found: dict[str, list[tuple[Path, Path]]] = {}
    folder = data / "dsb2018"
    if folder.is_dir():
        with (folder / "index.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                if row["split"] == "val":
                    name = f"{row['id']}.tif"
                    pair = (folder / "images" / name, folder / "labels" / name)
                    found.setdefault(kind_of(row["modality_guess"]), []).append(pair)
    folder = data / "usiigaci_phase"
    if folder.is_dir():
        found["phase contrast"] = [
            (path, folder / "labels" / path.name)
            for path in list_images(folder / "images")
            if path.name.startswith("val")
        ]
    for index in sorted(data.glob("*/index.csv")):
        folder = index.parent
        if folder.name not in ("dsb2018", "usiigaci_phase") and (folder / "labels").is_dir():
            pairs = list(_held_out_of(folder, index))
            if pairs:
                found[folder.name.replace("_", " ")] = pairs
    if not found:
        raise SystemExit(f"There are no held-out images in {data}.")
    order = [*KINDS, *sorted(set(found) - set(KINDS))]
    return {kind: found[kind] for kind in order if kind in found}


def _held_out_of(folder: Path, index: Path) -> Iterator[tuple[Path, Path]]:
    """Find the two-dimensional images of a data folder that were not trained on."""
    files = {path.stem: path for path in list_images(folder / "images")}
    labels = {path.stem: path for path in list_images(folder / "labels")}
    with index.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row.get("name", "")
            if name not in files or name not in labels:
                continue
            held_out = row.get("split") == "val" or row.get("use") == "measure"
            if held_out and np.asarray(read_image(labels[name]).data).ndim == 2:
                yield files[name], labels[name]


def score(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Score pairs of ground truth and labels; AP75 is added to what the package tells."""
    at_75 = sum(instance_counts(truth, labels, [0.75])[0] for truth, labels in pairs)
    result = average_precision(pairs)
    result["AP75"] = float(at_75[0] / max(at_75[:3].sum(), 1))
    each = [average_precision([pair]) for pair in pairs if pair[0].any()]
    result["mean AP50"] = float(np.mean([one["AP50"] for one in each]))
    assert THRESHOLDS[5] == 0.75
    return {key: round(value, 4) for key, value in result.items()}


def accuracy(
    kinds: dict[str, list[tuple[Path, Path]]], config: EntityConfig, out: Path
) -> dict[str, dict[str, float]]:
    """Segment every picture as the command line does, and score the files it wrote."""
    rows = {}
    for kind, pairs in kinds.items():
        source, target = out / "images" / kind, out / "labels" / kind
        source.mkdir(parents=True)
        for image, _ in pairs:
            (source / image.name).symlink_to(image.resolve())
        outcome = batch.process_folder(source, target, EntityTask(config), lambda *_, **__: None)
        if outcome.failed:
            raise SystemExit(f"{kind}: {outcome.failed}")
        scored = [
            (
                np.asarray(read_image(truth).data),
                np.asarray(read_image(target / f"{image.stem}.tif").data),
            )
            for image, truth in pairs
        ]
        rows[kind] = score(scored) | {"seconds": round(outcome.seconds, 1)}
        print(kind, rows[kind], flush=True)
    return rows


def densest(labels: np.ndarray, side: int) -> tuple[slice, slice]:
    """Find the piece of at most ``side`` pixels squared with the most labelled pixels."""
    sides = [min(side, n) for n in labels.shape]
    total = np.pad((labels > 0).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    h, w = sides
    cover = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
    top, left = np.unravel_index(int(cover.argmax()), cover.shape)
    return slice(top, top + h), slice(left, left + w)


def rescaled(
    pairs: list[tuple[Path, Path]], size: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pieces of pictures, and their labels, whose median diameter is ``size``."""
    step = max(1, len(pairs) // MOST)
    for image, truth in pairs[::step][:MOST]:
        pixels, labels = np.asarray(read_image(image).data), np.asarray(read_image(truth).data)
        diameter = median_diameter(labels)
        if not diameter:
            continue
        piece = densest(labels, round(FIELD * diameter))
        pixels, labels = pixels[piece], labels[piece]
        shape = [max(2, round(n * size / diameter)) for n in labels.shape]
        shrinks = size < diameter
        grown = resize(
            pixels, (*shape, *pixels.shape[2:]), order=1, anti_aliasing=shrinks,
            preserve_range=True,
        )  # fmt: skip
        grid = [((np.arange(n) + 0.5) * old / n).astype(int) for n, old in
                zip(shape, labels.shape, strict=True)]  # fmt: skip
        yield grown.round().astype(pixels.dtype), labels[np.ix_(*grid)]


def sizes(
    kinds: dict[str, list[tuple[Path, Path]]], config: EntityConfig
) -> dict[str, dict[str, float]]:
    """AP50 of every kind at every size."""
    model = load_network(config.weights)
    rows = {}
    for kind, pairs in kinds.items():
        row: dict[str, float] = {}
        for size in SIZES:
            scored = []
            for pixels, labels in rescaled(pairs, size):
                axes = "YXS" if pixels.ndim == 3 else "YX"
                found = segment_entities(pixels, config=config, axes=axes, model=model)
                scored.append((labels, np.asarray(found.labels)))
            result = average_precision(scored)
            row |= {str(size): round(result["AP50"], 4), "images": result["images"]}
            row[f"objects {size}"] = result["objects"]
        rows[kind] = row
        print(kind, row, flush=True)
    return rows


def of_views(result: dict) -> str:
    """Return the table of accuracy by the number of views and of resolutions."""
    parts = {"1 view": result["accuracy"]}
    for option in OPTIONS:
        parts |= {f"{n} {option}": part for n, part in result.get(option, {}).items()}
    lines = [
        "| " + " | ".join(["images", *(f"AP50 / mSA, {column}" for column in parts)]) + " |",
        "|---|" + "---|" * len(parts),
    ]
    first = parts["1 view"]
    kinds = [k for k in first["rows"] if all(k in part["rows"] for part in parts.values())]
    for kind in kinds:
        rows = (part["rows"][kind] for part in parts.values())
        cells = " | ".join(f"{row['AP50']:.3f} / {row['mSA']:.3f}" for row in rows)
        lines.append(f"| {kind} | {cells} |")
    return "\n".join([*lines, "", footer(first)])


def markdown(result: dict) -> dict[str, str]:
    """Return the tables of what has been measured, by name."""
    tables = {}
    if "accuracy" in result:
        part = result["accuracy"]
        lines = [
            "| kind | AP50 | AP75 | mSA | PQ | mean AP50 | mean mSA | images | objects | seconds |",
            "|---|" + "---|" * 9,
        ]
        for kind, row in part["rows"].items():
            keys = ("AP50", "AP75", "mSA", "PQ", "mean AP50", "mSA_per_image")
            scores = " | ".join(f"{row[key]:.3f}" for key in keys)
            lines.append(
                f"| {kind} | {scores} | {row['images']:.0f} | {row['objects']:.0f} "
                f"| {row['seconds']:.0f} |"
            )
        tables[NAME] = "\n".join([*lines, "", footer(part)])
    if "accuracy" in result and any(option in result for option in OPTIONS):
        tables["entities_views"] = of_views(result)
    if "sizes" in result:
        part = result["sizes"]
        lines = [
            "| AP50 at a median diameter of | " + " | ".join(f"{s} px" for s in SIZES)
            + " | pictures |",
            "|---|" + "---|" * (len(SIZES) + 1),
        ]  # fmt: skip
        for kind, row in part["rows"].items():
            cells = " | ".join(f"{row[str(size)]:.3f}" for size in SIZES)
            lines.append(f"| {kind} | {cells} | {row['images']:.0f} |")
        tables["entities_sizes"] = "\n".join([*lines, "", footer(part)])
    return tables


def footer(part: dict) -> str:
    return (
        f"Weights `{part['weights']['name']}` (sha256 {part['weights']['sha256'][:12]}…), "
        f"default options. {part['hardware']}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--weights", default=EntityConfig().weights, metavar="NAME_OR_FILE")
    parser.add_argument("--views", type=int, default=1, help="of each picture; see the option [1]")
    parser.add_argument("--resolutions", type=int, default=1, help="of each picture [1]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sizes", action="store_true", help="accuracy by size instead")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the label TIFFs here")
    parser.add_argument("--limit", type=int, help="so many pictures of each kind, to try it out")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    others = [option for option in OPTIONS if getattr(given, option) > 1]
    if (given.sizes and others) or len(others) > 1:
        parser.error("--sizes, --views and --resolutions are measured one by one")
    if given.limit and not given.out:
        parser.error("--limit measures a part only; give --out as well")
    config = EntityConfig(
        weights=given.weights,
        views=given.views,
        resolutions=given.resolutions,
        device=given.device,
    )
    kinds = {kind: pairs[: given.limit] for kind, pairs in held_out(given.data).items()}
    path = resolve(given.weights)
    part = {
        "weights": {"name": path.stem, "sha256": file_sha256(path)},
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if given.sizes:
        part["rows"] = sizes(kinds, config)
    elif given.keep:
        part["rows"] = accuracy(kinds, config, given.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            part["rows"] = accuracy(kinds, config, Path(folder))
    result = measured_before(NAME, given.out)
    for option in others:
        result.setdefault(option, {})[str(getattr(given, option))] = part
    if not others:
        result["sizes" if given.sizes else "accuracy"] = part
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
