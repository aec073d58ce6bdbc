"""Consistency of clusters over time: ours next to what it is built on, on real movies.

    python benchmarks/consistency.py DATA_DIR [--rows ours,flat] [--movies NAME,…] [--frames N]
        [--encoders NAME,…] [--seeds N] [--out FILE]
    python benchmarks/consistency.py DATA_DIR --default

The second is short: whole runs with default options next to flat k-means and the paper's preset,
``kindred``, the first eight frames, three seeds.

``DATA_DIR`` holds ``ctc_fluo_hela_01`` and ``ctc_phc_psc_02`` (Cell Tracking Challenge, tracked
cells), ``yeast_phase``, ``usiigaci_t98g_sequence`` and ``cellphe_track`` (phase contrast and
ptychography; the last two have labels of other programs) and ``davis2016`` (natural video, one
object each), with ``images/`` and ``labels/``, or ``labels_automatic/``.  All of it is used to
measure only.

Each movie is encoded once per encoder, at stride 4; every row then clusters the same tokens into
the same number of clusters, except for *ours*, which is a whole run with all options at their
defaults, and *whole frames*, one with ``background="none"``; the frames of both are cached first.
*Flip rate*: share of objects whose majority label changes from one frame to the next.  *Best IoU*,
*F1*, *recall*: foreground against the union of the clusters that are more than half foreground,
chosen once for the movie.  *Background*: number of clusters that are more than half background.
*In one*: mean share of an object's pixels that its largest cluster covers.  *AMI*: adjusted mutual
information of clusters and background or object, of all clusters, and of the tree cut at 2 to 6 for
the rows that are whole runs.  Seconds are those of clustering and labelling,
without encoding; memory is what the process grew by meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from consistency_ways import CLUSTERS, ENCODERS, LEVELS, ROWS, SEED, Movie, Peak, run
from meanshift import hardware
from sklearn.metrics import adjusted_mutual_info_score
from tables import RESULTS, paste

from napari_kindred.encoders.registry import open_encoder
from napari_kindred.results.metrics import consistency

NAME = "consistency"
DEFAULT = "consistency_default"


def folders(data: Path) -> dict[str, Path]:
    cells = (
        "ctc_fluo_hela_01",
        "ctc_phc_psc_02",
        "yeast_phase",
        "usiigaci_t98g_sequence",
        "cellphe_track",
    )
    found = {name: data / name for name in cells}
    davis = data / "davis2016"
    if davis.is_dir():
        found |= {p.name: p for p in sorted(davis.iterdir()) if p.is_dir()}
    return {name: path for name, path in found.items() if path.is_dir()}


def shown(truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure clusters of background, share of an object in its largest one, and the AMI."""
    empty = truth == 0
    total = np.bincount(labels.ravel())
    nothing = np.bincount(labels[empty], minlength=len(total))
    shares = []
    for objects, clusters in zip(truth, labels, strict=True):
        inside = objects > 0
        found, counts = np.unique(
            np.stack([objects[inside], clusters[inside]]), axis=1, return_counts=True
        )
        for one in np.unique(found[0]):
            own = counts[found[0] == one]
            shares.append(own.max() / own.sum())
    return {
        "background": int((nothing > total / 2).sum()),
        "in_one": float(np.mean(shares)) if shares else float("nan"),
        "ami": agreement(truth, labels),
    }


def agreement(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the adjusted mutual information of labels and background or object."""
    every = (slice(None), slice(None, None, 4), slice(None, None, 4))
    return float(adjusted_mutual_info_score((truth[every] == 0).ravel(), labels[every].ravel()))


def measure(movie: Movie, rows: list[str], encoders: list[str], seeds: int) -> list[dict]:
    measured = []
    for name, seed in itertools.product(encoders, range(seeds)):
        movie.encoder, SEED[0] = name, seed
        start = time.perf_counter()
        only_runs = all(ROWS[row] is run or row == "whole frames" for row in rows)
        tokens = [] if only_runs else movie.encode(open_encoder(name, stride=4))
        encoding = time.perf_counter() - start
        for row in rows:
            movie.levels = {}
            with Peak() as peak:
                labels, seconds = ROWS[row](movie, tokens)
            scores = {**consistency(movie.truth, labels), **shown(movie.truth, labels)}
            scores |= {f"ami_{n}": agreement(movie.truth, at) for n, at in movie.levels.items()}
            result = {
                "seed": seed,
                "movie": movie.name,
                "encoder": name,
                "row": row,
                **{k: float(v) for k, v in scores.items()},
                "seconds": round(seconds, 2),
                "encoding_seconds": round(encoding, 1),
                "megabytes": peak.megabytes,
                "frames": len(movie.stack),
            }
            print({k: v for k, v in result.items() if k != "encoding_seconds"}, flush=True)
            measured.append(result)
    return measured


def markdown(result: dict) -> dict[str, str]:
    """Tables: the methods side by side, ours next to flat, and what each improvement does."""
    return {
        "consistency": _methods(result),
        "consistency_short": _short(result),
        "consistency_ablation": _ablation(result),
    } | ({DEFAULT: _methods(result[DEFAULT])} if DEFAULT in result else {})


HEAD = (
    "| movie | encoder | row | flip | IoU | F1 | recall | background | in one | AMI "
    "| AMI at 2 to 6 | s | MB |"
)
MAIN = ("ours", "whole frames", "flat", "paper", "per frame", "no inter-batch")


def _methods(result: dict) -> str:
    lines = [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    for one in _means(result["measured"]):
        if one["row"] in MAIN:
            at = [f"{one[f'ami_{n}']:.2f}" for n in LEVELS if f"ami_{n}" in one]
            lines.append(
                f"| {one['movie']} | {one['encoder']} | {one['row']} | {one['flip_rate']:.3f} "
                f"| {one['best_iou']:.3f} | {one['best_f1']:.3f} | {one['best_recall']:.3f} "
                f"| {_if_measured(one, 'background', '.1f')} "
                f"| {_if_measured(one, 'in_one', '.2f')} "
                f"| {_if_measured(one, 'ami', '.2f')} | {' '.join(at) or '–'} "
                f"| {one['seconds']:.1f} | {one['megabytes']:.0f} |"
            )
    frames = {one["frames"] for one in result["measured"]}
    about = f"The first {max(frames)} frames" if len(frames) == 1 else "Whole movies"
    seeds = len({one.get("seed", 0) for one in result["measured"]})
    count = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
    return "\n".join([*lines, "", f"{about}, {count}. {result['hardware']}."])


def _if_measured(one: dict, name: str, digits: str) -> str:
    return f"{one[name]:{digits}}" if name in one else "–"


def _means(measured: list[dict]) -> list[dict]:
    """Return the mean over seeds of each movie, encoder and row."""
    grouped: dict[tuple[str, ...], list[dict]] = {}
    for one in measured:
        grouped.setdefault((one["movie"], one["encoder"], one["row"]), []).append(one)
    return [
        {
            k: np.mean([o[k] for o in of_seeds]) if np.isreal(v) else v
            for k, v in of_seeds[0].items()
        }
        for of_seeds in grouped.values()
    ]


def _short(result: dict) -> str:
    """Clusters of whole frames next to flat k-means, a line per movie and encoder."""
    lines = [
        "| movie | latent space | flip rate, ours | flat | best IoU, ours | flat |",
        "|---|---|---|---|---|---|",
    ]
    found = {(one["movie"], one["encoder"], one["row"]): one for one in _means(result["measured"])}
    for movie, encoder, row in found:
        if row == "whole frames" and (movie, encoder, "flat") in found:
            mine, other = found[movie, encoder, row], found[movie, encoder, "flat"]
            cells = [
                f"{one[key]:.3f}" for key in ("flip_rate", "best_iou") for one in (mine, other)
            ]
            lines.append(f"| {movie} | {encoder} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{result['hardware']}."])


def _ablation(result: dict) -> str:
    """Mean over the movies, encoders apart."""
    lines = [
        "| row | flip, kindred | IoU, kindred | flip, efficientnet | IoU, efficientnet |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        cells = []
        for encoder in ENCODERS:
            found = [
                one for one in result["measured"] if one["row"] == row and one["encoder"] == encoder
            ]
            if not found:
                break
            cells += [
                f"{np.mean([one[key] for one in found]):.3f}" for key in ("flip_rate", "best_iou")
            ]
        if cells:
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--movies", default="")
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--frames", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--default", action="store_true")
    given = parser.parse_args()
    if given.default:
        given.rows, given.encoders = "ours,flat,paper", ENCODERS[0]
        given.frames, given.seeds = given.frames or 8, 3
    rows = given.rows.split(",")
    chosen = [name for name in given.movies.split(",") if name]
    measured = []
    for name, folder in folders(given.data).items():
        if not chosen or name in chosen:
            movie = Movie(folder, name, given.frames)
            measured += measure(movie, rows, given.encoders.split(","), given.seeds)
    result = {"measured": measured, "hardware": hardware(), "clusters": CLUSTERS}
    whole = rows == list(ROWS) and not chosen
    kept = RESULTS / f"{NAME}.json"
    short = given.default and not chosen
    if not given.out and (whole or short):
        before = json.loads(kept.read_text("utf-8")) if kept.exists() else {"measured": []}
        again = {**before, DEFAULT: result} if short else {**before, **result}
        kept.write_text(json.dumps(again, indent=1) + "\n", "utf-8")
        for table, text in markdown(again).items():
            paste(table, text)
    elif given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(_methods(result))


if __name__ == "__main__":
    main()
