"""How well a promptable model answers one click, on pictures that it was not trained on.

    python benchmarks/sam_accuracy.py DATA_DIR [--sam NAME_OR_FILE]

``DATA_DIR`` holds one or more of ``dsb2018``, ``usiigaci_phase``, ``laptrack_phase`` and
``laptrack_fluo``, each with ``images/`` and ``labels/``; their pictures of split ``val`` are used,
all of them.  Up to 16 things of each picture are clicked on, in their innermost pixel; the answer
is the one of three candidates whose predicted quality is best, and is compared with the truth by
its IoU.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meanshift import hardware
from tables import keep

from napari_kindred.classes.sam.model import load_sam
from napari_kindred.classes.sam.validate import middle, score_image
from napari_kindred.models.download import file_sha256
from napari_kindred.models.training_data import load_examples
from napari_kindred.models.weights import resolve

NAME = "sam_accuracy"
SETS = ("dsb2018", "usiigaci_phase", "laptrack_phase", "laptrack_fluo")


def accuracy(sam: Any, data: Path) -> list[dict[str, Any]]:
    """Click on things of every picture; returns a row per kind of picture."""
    folders = [data / name for name in SETS if (data / name).is_dir()]
    if not folders:
        raise SystemExit(f"There is none of {', '.join(SETS)} in {data}.")
    found: dict[str, list[np.ndarray]] = {}
    for example in load_examples(folders, "val"):
        scores = score_image(sam, *middle(example, sam.image_encoder.img_size))
        found.setdefault(example.group, []).append(scores)
    rows = []
    for group, parts in sorted(found.items()):
        scores = np.concatenate(parts)
        rows.append(
            {
                "group": group,
                "pictures": len(parts),
                "clicks": len(scores),
                "one_click": round(float(scores[:, 0].mean()), 4),
                "best_of_three": round(float(scores[:, 1].mean()), 4),
                "over_half": round(float((scores[:, 0] > 0.5).mean()), 4),
            }
        )
        print(rows[-1], flush=True)
    return rows


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    titles = "IoU of the answer | of the best of three | answers above 0.5 | pictures | clicks"
    rows = [f"| pictures of | {titles} |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {row['group']} | {row['one_click']:.3f} | {row['best_of_three']:.3f} "
        f"| {100 * row['over_half']:.0f} % | {row['pictures']} | {row['clicks']} |"
        for row in result["rows"]
    ]
    chosen, best = (
        np.mean([row[key] for row in result["rows"]]) for key in ("one_click", "best_of_three")
    )
    rows.append(f"| mean of these | {chosen:.3f} | {best:.3f} | | | |")
    return "\n".join(
        [*rows, "", f"`{result['sam']}` (sha256 {result['sha256'][:12]}…). {result['hardware']}."]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sam", default="kindred-sam", metavar="NAME_OR_FILE")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sam, _ = load_sam(given.sam)
    path = resolve(given.sam, pytorch=True)
    result = {
        "sam": given.sam if given.sam == "kindred-sam" else path.name,
        "sha256": file_sha256(path),
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "rows": accuracy(sam, given.data),
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
