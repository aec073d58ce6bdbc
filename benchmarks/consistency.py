"""Consistency of clusters over time: ours next to what it is built on, on real movies.

    python benchmarks/consistency.py DATA_DIR [--rows ours,flat] [--movies NAME,…] [--out FILE]

``DATA_DIR`` holds ``ctc_fluo_hela_01`` and ``ctc_phc_psc_02`` (Cell Tracking Challenge, tracked
cells) and ``davis2016`` (natural video, one object each), with ``images/`` and ``labels/``.  All of
it is used to measure only.

Each movie is encoded once per encoder, at stride 4; every row then clusters the same tokens into
the same number of clusters.  *Flip rate*: share of objects whose majority label changes from one
frame to the next.  *Best IoU*, *F1*, *recall*: foreground against the union of the clusters that
are more than half foreground, chosen once for the movie.  Seconds are those of clustering and
labelling tokens, without encoding and without refinement, for both are the same for all rows;
memory is what the process grew by meanwhile.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from meanshift import hardware
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from tables import RESULTS, paste

from napari_kindred import ClusterConfig
from napari_kindred.clusters.labelling import Labeller
from napari_kindred.clusters.predict import make_model
from napari_kindred.clusters.refine import refine_edges, refine_none
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.images.readers import list_images, read_image
from napari_kindred.images.stack import ImageStack, intensity_range, normalise_to
from napari_kindred.results.metrics import consistency

NAME = "consistency"
ENCODERS = ("kindred", "efficientnet")
CLUSTERS = 12
COMPONENTS = 20
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

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        images = {p.stem: p for p in list_images(folder / "images")}
        truth = {p.stem: p for p in list_images(folder / "labels")}
        stems = sorted(set(images) & set(truth))
        self.truth = np.stack([np.asarray(read_image(truth[s]).data) for s in stems])
        stack = np.stack([np.asarray(read_image(images[s]).data) for s in stems])
        self.frames = ImageStack.open(stack, "TYXS" if stack.ndim == 4 else "TYX")
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


def ours(movie: Movie, tokens: list[np.ndarray], **options) -> tuple[np.ndarray, float]:
    """Cluster as the plugin does, from tokens that are there; returns labels and seconds."""
    config = replace(ClusterConfig(n_clusters=CLUSTERS), **options)
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
    "ours": ours,
    "paper": lambda m, t: ours(m, t, preset="paper", refinement="none"),
    "flat": flat,
    "per frame": per_frame,
    "no inter-batch": no_inter_batch,
    "paper + edges": lambda m, t: ours(m, t, preset="paper"),
    "flat + edges": lambda m, t: flat(m, t, edges=True),
    "ours on the grid": lambda m, t: ours(m, t, refinement="none"),
    "ours - objects": lambda m, t: ours(m, t, objects=False),
    "ours - reassign": lambda m, t: ours(m, t, reassign=False),
    "ours - carry over": lambda m, t: ours(m, t, carry_over=False),
}


def folders(data: Path) -> dict[str, Path]:
    found = {name: data / name for name in ("ctc_fluo_hela_01", "ctc_phc_psc_02")}
    davis = data / "davis2016"
    if davis.is_dir():
        found |= {p.name: p for p in sorted(davis.iterdir()) if p.is_dir()}
    return {name: path for name, path in found.items() if path.is_dir()}


def measure(movie: Movie, rows: list[str]) -> list[dict]:
    measured = []
    for name in ENCODERS:
        encoder = open_encoder(name, stride=4)
        start = time.perf_counter()
        tokens = movie.encode(encoder)
        encoding = time.perf_counter() - start
        for row in rows:
            with Peak() as peak:
                labels, seconds = ROWS[row](movie, tokens)
            scores = consistency(movie.truth, labels)
            result = {
                "movie": movie.name,
                "encoder": name,
                "row": row,
                **{k: float(v) for k, v in scores.items()},
                "seconds": round(seconds, 2),
                "encoding_seconds": round(encoding, 1),
                "megabytes": peak.megabytes,
                "frames": len(tokens),
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
    }


MAIN = ("ours", "flat", "paper", "per frame", "no inter-batch")


def _methods(result: dict) -> str:
    lines = [
        "| movie | encoder | row | flip rate | best IoU | F1 | recall | s | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['movie']} | {one['encoder']} | {one['row']} | {one['flip_rate']:.3f} "
        f"| {one['best_iou']:.3f} | {one['best_f1']:.3f} | {one['best_recall']:.3f} "
        f"| {one['seconds']:.1f} | {one['megabytes']} |"
        for one in result["measured"]
        if one["row"] in MAIN
    ]
    return "\n".join([*lines, "", f"{result['hardware']}."])


def _short(result: dict) -> str:
    """Ours next to flat k-means, a line per movie and encoder."""
    lines = [
        "| movie | latent space | flip rate, ours | flat | best IoU, ours | flat |",
        "|---|---|---|---|---|---|",
    ]
    found = {(one["movie"], one["encoder"], one["row"]): one for one in result["measured"]}
    for movie, encoder, row in found:
        if row == "ours" and (movie, encoder, "flat") in found:
            mine, other = found[movie, encoder, "ours"], found[movie, encoder, "flat"]
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
                return ""
            cells += [
                f"{np.mean([one[key] for one in found]):.3f}" for key in ("flip_rate", "best_iou")
            ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--movies", default="")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = given.rows.split(",")
    chosen = [name for name in given.movies.split(",") if name]
    measured = []
    for name, folder in folders(given.data).items():
        if not chosen or name in chosen:
            measured += measure(Movie(folder, name), rows)
    result = {"measured": measured, "hardware": hardware(), "clusters": CLUSTERS}
    whole = rows == list(ROWS) and not chosen
    out = given.out or (RESULTS / f"{NAME}.json" if whole else None)
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if whole:
        for table, text in markdown(result).items():
            paste(table, text)
    print(markdown(result)["consistency"])


if __name__ == "__main__":
    main()
