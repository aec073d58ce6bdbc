"""How many cells the proposals hold, on pictures that were not trained on.

    python benchmarks/classes_proposals.py DATA_DIR [--sam NAME_OR_FILE]

``DATA_DIR`` is that of ``entities_accuracy.py``, whose held-out pictures are used.  Of every kind
of proposals: the share of true cells that a proposal overlaps with an IoU of at least 0.5, the
share of cells that a proposal's point lies on, proposals per picture and seconds per picture.
The points tell what a grid can find at best: a cell that lies between them is found by luck only.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from entities_accuracy import held_out
from meanshift import hardware
from tables import keep

from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.core.events import finish
from napari_kindred.images.stack import normalise, read_image

if TYPE_CHECKING:
    from napari_kindred.classes.proposals.base import Proposer

NAME = "classes_proposals"


def proposers(sam: str, device: str, tiled: bool) -> dict[str, Proposer]:
    """Open every kind of proposals that is measured, by the name of its rows."""
    found = {
        "entities": open_proposer("entities", device=device),
        "SAM, best mask": open_proposer("sam", sam, device=device),
        "SAM, all masks": open_proposer("sam", sam, masks="all", device=device),
    }
    if tiled:
        found["SAM, in tiles"] = open_proposer("sam", sam, large="tiles", device=device)
    return found


def picture(path: Path) -> np.ndarray:
    """Read a picture (H, W, 1 or 3), normalised."""
    pixels = np.asarray(read_image(path).data).astype(np.float32)
    return normalise(pixels[..., None] if pixels.ndim == 2 else pixels[..., :3])


def measure(proposer: Proposer, pairs: list[tuple[Path, Path]]) -> dict[str, float]:
    """Find the proposals of pictures, and compare them with the truth."""
    cells = found = reached = count = 0
    seconds = 0.0
    for image, truth in pairs:
        pixels, masks = picture(image), Masks.from_labels(np.asarray(read_image(truth).data))
        start = time.perf_counter()
        proposals = finish(proposer.iter_propose(pixels))
        seconds += time.perf_counter() - start
        best = masks.ious(proposals.masks).max(1, initial=0)
        cells += len(masks)
        found += int((best >= 0.5).sum())
        reached += int(masks.contain(proposals.points).any(1).sum())
        count += len(proposals)
    return {
        "recall": round(found / max(cells, 1), 4),
        "reached": round(reached / max(cells, 1), 4),
        "cells": cells,
        "pictures": len(pairs),
        "proposals": round(count / len(pairs), 1),
        "seconds": round(seconds / len(pairs), 2),
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    titles = "recall at IoU 0.5 | cells with a point on them | cells | proposals per picture"
    rows = [
        f"| pictures | proposals | {titles} | seconds per picture |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {row['pictures of']}, {row['pictures']} | {row['from']} | {row['recall']:.3f} "
        f"| {row['reached']:.3f} | {row['cells']} | {row['proposals']:.0f} "
        f"| {row['seconds']:.2f} |"
        for row in result["rows"]
    ]
    foot = (
        f"Entities with their default options; SAM: `{result['sam']}` (sha256 "
        f"{result['sha256'][:12]}…), a grid of 100 points. {result['hardware']}."
    )
    return "\n".join([*rows, "", foot])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--sam", default="kindred-sam", metavar="NAME_OR_FILE")
    parser.add_argument("--tiles", action="store_true", help="also SAM in tiles, which is slow")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="so many pictures of each kind, to try it out")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    if given.limit and not given.out:
        parser.error("--limit measures a part only; give --out as well")
    opened = proposers(given.sam, given.device, given.tiles)
    rows = []
    for kind, pairs in held_out(given.data).items():
        for name, proposer in opened.items():
            row = measure(proposer, pairs[: given.limit])
            rows.append({"pictures of": kind, "from": name, **row})
            print(rows[-1], flush=True)
    spec = opened["SAM, best mask"].spec
    result = {
        "rows": rows,
        "sam": Path(spec.encoder).name,
        "sha256": spec.sha256,
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
