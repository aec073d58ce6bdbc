"""How good *Pick an example* is: random clicks, and kinds that were marked by hand.

    python benchmarks/clusters_picks.py DATA_DIR [--movies NAME,…] [--frames N] [--out FILE]

The movies of cells of ``consistency.py``, their first eight frames, with default options.

*Clicks*: 30 annotated objects of each movie, drawn at random from all frames, are clicked at their
innermost pixel.  The click picks a node of the tree, which is there in all frames; it is compared
with all annotated objects, since these have no kinds: as it is picked, and after *Wider* has been
pressed as often as is best, the background excepted.

*Kinds*: ``clusters_marks.csv`` has cells in division in one movie, round ones in another, and
round or dying ones in a third, in the frames it names.  They were marked
by eye, not by a cell biologist: each of these frames was looked at once, at 1.2 to 2 times its
size, without its clusters; doubtful cells may be wrong.  Of the node of the tree with the best
F1: *recall*, the share of marks it holds, and *precision*, the share of marked ones among the
annotated objects of those frames that lie in it by more than half.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from consistency import folders
from consistency_ways import Movie
from meanshift import hardware
from scipy import ndimage
from tables import keep, measured_before

from napari_kindred import cluster_stack
from napari_kindred.clusters.nodes import all_nodes

NAME = "clusters_picks"
CLICKS = 30
NEAR = 3
"""Half the side of the square around a mark that decides what holds it."""


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def clicks(movie: Movie, result) -> dict[str, list[float]]:
    """IoU of each click as picked, and after the best number of *Wider*."""
    random = np.random.default_rng(0)
    objects = [(t, i) for t, plane in enumerate(movie.truth) for i in np.unique(plane) if i]
    chosen = random.choice(len(objects), min(CLICKS, len(objects)), replace=False)
    everything, found = movie.truth > 0, {"picked": [], "wider": []}
    for frame, one in (objects[i] for i in sorted(chosen)):
        inside = ndimage.distance_transform_edt(np.pad(movie.truth[frame] == one, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        node = result.node_at(frame, int(y), int(x))
        values = [iou(np.asarray(node.mask), everything)]
        while 0 not in node.leaves and 0 not in node.wider().leaves:
            node = node.wider()
            values.append(iou(np.asarray(node.mask), everything))
        found["picked"].append(round(values[0], 4))
        found["wider"].append(round(max(values), 4))
    return found


def kinds(movie: Movie, result, marks: list[dict[str, str]]) -> dict[str, object]:
    """Recall and precision of the node that holds the marked cells best."""
    leaves, count = np.asarray(result.leaves), len(result.model.leaf_areas_)
    marked, others = [], []
    for frame in sorted({int(one["frame"]) for one in marks}):
        places = [(int(m["y"]), int(m["x"])) for m in marks if int(m["frame"]) == frame]
        for y, x in places:
            around = leaves[frame, max(0, y - NEAR) : y + NEAR + 1, max(0, x - NEAR) : x + NEAR + 1]
            marked.append(np.bincount(around.ravel(), minlength=count) / around.size)
        truth = movie.truth[frame]
        near = np.zeros(truth.shape, bool)
        for y, x in places:
            near[max(0, y - NEAR) : y + NEAR + 1, max(0, x - NEAR) : x + NEAR + 1] = True
        for one in set(np.unique(truth).tolist()) - set(np.unique(truth[near]).tolist()) - {0}:
            own = leaves[frame][truth == one]
            others.append(np.bincount(own, minlength=count) / own.size)
    best = {"f1": -1.0}
    for node in all_nodes(result.model.merges_):
        if 0 in node:
            continue
        own = sorted(node)
        hits = int(sum(one[own].sum() > 0.5 for one in marked))
        wrong = int(sum(one[own].sum() > 0.5 for one in others))
        f1 = 2 * hits / (len(marked) + hits + wrong)
        if f1 > best["f1"]:
            best = {
                "f1": f1,
                "recall": hits / len(marked),
                "precision": hits / max(hits + wrong, 1),
            }
    return {**best, "kind": marks[0]["kind"], "marks": len(marked), "others": len(others)}


def markdown(result: dict) -> dict[str, str]:
    """Return the tables of clicks and of kinds."""
    lines = [
        "| movie | median IoU, picked | least | median IoU, wider | least |",
        "|---|---|---|---|---|",
    ]
    rows = ["| movie | kind | marked | others | recall | precision |", "|---|---|---|---|---|---|"]
    for name, one in result["movies"].items():
        cells = [
            f"{figure(one[how]):.2f}" for how in ("picked", "wider") for figure in (np.median, min)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        if "kinds" in one:
            kind = one["kinds"]
            rows.append(
                f"| {name} | {kind['kind']} | {kind['marks']} | {kind['others']} "
                f"| {kind['recall']:.2f} | {kind['precision']:.2f} |"
            )
    every = [value for one in result["movies"].values() for value in one["wider"]]
    about = f"All clicks, wider: median {np.median(every):.2f}, least {min(every):.2f}."
    lines += ["", f"{about} The first {result['frames']} frames. {result['hardware']}."]
    return {"clusters_clicks": "\n".join(lines), "clusters_kinds": "\n".join(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--movies", default="")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", type=Path, help="another JSON file; the pages stay as they are")
    given = parser.parse_args()
    with (Path(__file__).parent / "clusters_marks.csv").open(newline="") as file:
        marks = list(csv.DictReader(file))
    result = measured_before(NAME, given.out)
    result |= {"frames": given.frames, "hardware": hardware()}
    result.setdefault("movies", {})
    for name, folder in folders(given.data).items():
        if folder.parent.name == "davis2016" or (given.movies and name not in given.movies):
            continue
        movie = Movie(folder, name, given.frames)
        clusters = cluster_stack(movie.stack, axes=movie.axes, cache=movie.cache)
        measured: dict[str, object] = clicks(movie, clusters)
        own = [one for one in marks if one["movie"] == name]
        if own:
            measured["kinds"] = kinds(movie, clusters, own)
        result["movies"][name] = measured
        print(name, measured, flush=True)
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
