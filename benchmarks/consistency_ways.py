"""The ways of clustering a movie that ``consistency.py`` compares."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from napari_kindred import ClusterConfig, cluster_stack
from napari_kindred.clusters.labelling import Labeller
from napari_kindred.clusters.predict import make_model
from napari_kindred.clusters.refine import refine_edges, refine_none
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.images.ranges import intensity_range
from napari_kindred.images.readers import list_images, read_image
from napari_kindred.images.stack import ImageStack, normalise_to
from napari_kindred.models.feature_cache import FeatureCache

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
    reduced = PCA(COMPONENTS, random_state=SEED[0]).fit_transform(every)
    fitted = KMeans(CLUSTERS, n_init=1, random_state=SEED[0]).fit(reduced)
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
        reduced = PCA(COMPONENTS, random_state=SEED[0]).fit_transform(
            one.reshape(-1, one.shape[-1])
        )
        fitted = KMeans(CLUSTERS, n_init=1, random_state=SEED[0]).fit(reduced)
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
