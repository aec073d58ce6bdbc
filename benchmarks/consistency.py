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
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from meanshift import hardware
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score
from tables import RESULTS, paste

from napari_kindred import ClusterConfig, cluster_stack
from napari_kindred.clusters.labelling import Labeller
from napari_kindred.clusters.predict import make_model
from napari_kindred.clusters.refine import refine_edges, refine_none
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.readers import list_images, read_image
from napari_kindred.images.stack import ImageStack, normalise_to
from napari_kindred.models.feature_cache import FeatureCache
from napari_kindred.results.metrics import consistency

NAME = "consistency"
DEFAULT = "consistency_default"
ENCODERS = ("kindred", "efficientnet")
CLUSTERS = 12
SEED = [0]
COMPONENTS = 20
LEVELS = range(2, 7)
STEP = (4.0, 4.0)


class Peak:
    """Growth of the process's memory, in MB, while the ``with`` block runs; 0 where unknown."""

    def __enter__(self) -> Peak:
        self._start = self._highest = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._highest = max(self._highest, _resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.megabytes = round((max(self._highest, _resident()) - self._start) / 2**20)


def _resident() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


class Movie:
    """A movie, its truth, and its tokens in one latent space."""

    def __init__(self, folder: Path, name: str, most: int | None = None) -> None:
        self.name = name
        self.encoder = ENCODERS[0]
        self._folder = tempfile.TemporaryDirectory(prefix="consistency-")
        self.cache, self.cached = FeatureCache(Path(self._folder.name)), set()
        self.levels: dict[int, np.ndarray] = {}
        """The last whole run's labels at 2 to 6 clusters."""
        images = {p.stem: p for p in list_images(folder / "images")}
        labels = folder / "labels"
        truth = {
            p.stem: p
            for p in list_images(labels if labels.is_dir() else folder / "labels_automatic")
        }
        stems = sorted(set(images) & set(truth))[:most]
        self.truth = np.stack([np.asarray(read_image(truth[s]).data) for s in stems])
        stack = np.stack([np.asarray(read_image(images[s]).data) for s in stems])
        self.stack, self.axes = stack, "TYXS" if stack.ndim == 4 else "TYX"
        self.frames = ImageStack.open(stack, self.axes)
        low, high = intensity_range(self.frames)
        self.pixels = [
            normalise_to(self.frames.read(i).pixels, low, high) for i in self.frames.indices()
        ]
        self.shape = self.frames.plane_shape

    def encode(self, encoder) -> list[np.ndarray]:
        """Tokens of each frame."""
        return [finish(iter_encode(encoder, one)).values for one in self.pixels]

    def coarse(self, labels) -> np.ndarray:
        """Labels of tokens as labels of pixels, without looking at the frame."""
        return np.stack([refine_none(one, STEP, self.shape) for one in labels])


def run(movie: Movie, _: list[np.ndarray], **options) -> tuple[np.ndarray, float]:
    """Run with all options at their defaults, frames being cached; returns labels and seconds."""
    given = {"axes": movie.axes, "encoder": movie.encoder, "cache": movie.cache, **options}
    if (known := (movie.encoder, *options)) not in movie.cached:
        cluster_stack(movie.stack, **given)
        movie.cached.add(known)
    start = time.perf_counter()
    result = cluster_stack(movie.stack, seed=SEED[0], **given)
    seconds = time.perf_counter() - start
    movie.levels = {n: np.asarray(result.at_level(n).labels) for n in LEVELS if n in result.levels}
    return np.asarray(result.labels), seconds


def ours(movie: Movie, tokens: list[np.ndarray], **options) -> tuple[np.ndarray, float]:
    """Cluster whole frames, from tokens that are there; returns labels and seconds."""
    config = replace(ClusterConfig(n_clusters=CLUSTERS, seed=SEED[0]), **options)
    start = time.perf_counter()
    model = make_model(config).fit(tokens)
    # The paper's components are known last, so its tokens are kept as they are.
    paper = config.preset == "paper"
    values = tokens if paper else [model.reduce(one) for one in tokens]
    labeller = Labeller(model, config)
    for number, one in enumerate(values):
        labeller.vote(number, one)
    labeller.decide()
    seconds = time.perf_counter() - start
    leaves = np.stack(
        [
            labeller.leaves(number, values[number], movie.pixels[number], STEP)
            for number in range(len(tokens))
        ]
    )
    first = np.searchsorted(model.leaf_parents_, np.arange(model.n_labels_))
    assert len(first) == CLUSTERS
    return model.leaf_parents_[leaves] + 1, seconds


def flat(movie: Movie, tokens: list[np.ndarray], edges: bool = False) -> tuple[np.ndarray, float]:
    """PCA and k-means of all tokens of the movie at once, by scikit-learn."""
    start = time.perf_counter()
    every = np.concatenate([one.reshape(-1, one.shape[-1]) for one in tokens])
    reduced = PCA(COMPONENTS, random_state=0).fit_transform(every)
    fitted = KMeans(CLUSTERS, n_init=1, random_state=0).fit(reduced)
    labels = fitted.labels_.reshape(len(tokens), *tokens[0].shape[:2])
    seconds = time.perf_counter() - start
    if not edges:
        return movie.coarse(labels) + 1, seconds
    onehot = np.eye(CLUSTERS, dtype=np.float32)
    fine = [refine_edges(onehot[one], movie.pixels[i], STEP) for i, one in enumerate(labels)]
    return np.stack(fine) + 1, seconds


def per_frame(movie: Movie, tokens: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """PCA and k-means of each frame by itself."""
    start = time.perf_counter()
    labels = []
    for one in tokens:
        reduced = PCA(COMPONENTS, random_state=0).fit_transform(one.reshape(-1, one.shape[-1]))
        fitted = KMeans(CLUSTERS, n_init=1, random_state=0).fit(reduced)
        labels.append(fitted.labels_.reshape(one.shape[:2]))
    seconds = time.perf_counter() - start
    return movie.coarse(labels) + 1, seconds


def no_inter_batch(movie: Movie, tokens: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Local clusters of each batch, by number."""
    config = ClusterConfig(n_clusters=CLUSTERS, n_local=CLUSTERS, preset="paper")
    start = time.perf_counter()
    model = make_model(config)
    for first in range(0, len(tokens), config.batch_size):
        model.partial_fit(tokens[first : first + config.batch_size])
    seconds = time.perf_counter() - start
    return movie.coarse(model.local_labels_) + 1, seconds


Row = Callable[[Movie, list[np.ndarray]], tuple[np.ndarray, float]]

ROWS: dict[str, Row] = {
    "ours": run,
    "whole frames": lambda m, t: run(m, t, background="none"),
    "paper": lambda m, t: ours(m, t, preset="paper", refinement="none"),
    "flat": flat,
    "per frame": per_frame,
    "no inter-batch": no_inter_batch,
    "paper + edges": lambda m, t: ours(m, t, preset="paper", refinement="edges"),
    "flat + edges": lambda m, t: flat(m, t, edges=True),
    "whole frames on the grid": lambda m, t: ours(m, t, refinement="none"),
    "whole frames - objects": lambda m, t: ours(m, t, objects=False),
    "whole frames - reassign": lambda m, t: ours(m, t, reassign=False),
    "whole frames - carry over": lambda m, t: ours(m, t, carry_over=False),
}


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
