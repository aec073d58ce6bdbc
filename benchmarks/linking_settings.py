"""Choose the weights of ``napari_kindred.link`` on simulated movies and on automatic tracks.

    python benchmarks/linking_settings.py DATA_DIR [--sweeps N]

The movies are those of ``linking_movies.py`` and two real ones whose tracks are automatic
(``usiigaci_t98g_sequence``, ``cellphe_track``), whole and every third frame.  Nothing that
``linking.py`` measures with true tracks is used.  One weight after the other is changed by a
factor as long as that helps; a setting's value is the mean over the movies of the links' F1, and a
tenth of the divisions'.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from linking_movies import KINDS, PIECE, Movie, simulate

from napari_kindred.images.readers import read_image
from napari_kindred.linking.config import LinkConfig
from napari_kindred.linking.cost import Weights
from napari_kindred.linking.divisions import DivisionWeights
from napari_kindred.linking.linker import Linker
from napari_kindred.linking.metrics import TrackGraph, division_scores, graph_of, link_scores
from napari_kindred.linking.objects import FrameObjects, measure_objects
from napari_kindred.linking.tracks import make_tracks

AUTOMATIC = {"usiigaci_t98g_sequence": "labels_automatic", "cellphe_track": "labels"}
FACTORS = (0.6, 1.6)
FEWEST = 10
"""Divisions of a movie below which their score is left to chance."""


@dataclass(frozen=True)
class Prepared:
    """A movie, measured."""

    name: str
    objects: list[FrameObjects]
    truth: TrackGraph


def prepared(movie: Movie) -> Prepared:
    objects = [measure_objects(labels) for labels in movie.labels]
    true = [frame.ids[frame.ids < PIECE] for frame in objects]
    return Prepared(movie.name, objects, graph_of(true, movie.parents))


def automatic(data: Path) -> list[Movie]:
    """Return the real movies with automatic tracks, whole and every third frame."""
    movies = []
    for name, folder in AUTOMATIC.items():
        files = sorted((data / name / folder).glob("*"))
        labels = [np.asarray(read_image(file).data) for file in files]
        movies += [Movie(f"{name}, every {step}", labels[::step]) for step in (1, 3)]
    return movies


def scores_of(
    movie: Prepared,
    weights: Weights,
    division_weights: DivisionWeights,
    config: LinkConfig | None = None,
) -> dict[str, float]:
    """Link a movie, and compare."""
    linker = Linker(config or LinkConfig(), weights, division_weights)
    for objects in movie.objects:
        linker.add(objects)
    tracks = make_tracks(linker.links)
    cuts = np.cumsum([len(objects) for objects in movie.objects])[:-1]
    frames = np.split(tracks.track, cuts)
    same = {
        (number, int(one)): (number, int(track))
        for number, (objects, own) in enumerate(zip(movie.objects, frames, strict=True))
        for one, track in zip(objects.ids, own, strict=True)
        if one < PIECE
    }
    found = graph_of(frames, dict(enumerate(tracks.parent.tolist())))
    return {
        **link_scores(movie.truth, found, same),
        **division_scores(movie.truth, found, same),
    }


def value(movies: list[Prepared], weights: Weights, division_weights: DivisionWeights) -> float:
    scores = [scores_of(movie, weights, division_weights) for movie in movies]
    links = np.mean([score["link_F1"] for score in scores])
    divisions = [score["division_F1"] for score in scores if score["divisions"] >= FEWEST]
    return float(links + 0.1 * np.mean(divisions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1, help="movies simulated of each kind")
    given = parser.parse_args()
    movies = [simulate(kind, seed) for kind in KINDS for seed in range(given.seeds)]
    measured = [prepared(movie) for movie in [*movies, *automatic(given.data)]]
    chosen: dict[type, object] = {Weights: Weights(), DivisionWeights: DivisionWeights()}

    def now() -> float:
        return value(measured, chosen[Weights], chosen[DivisionWeights])  # type: ignore[arg-type]

    best = now()
    print(f"{best:.4f} at the start", flush=True)
    for _ in range(given.sweeps):
        for kind in (DivisionWeights, Weights):
            for item in fields(kind):
                for factor in FACTORS:
                    before = chosen[kind]
                    chosen[kind] = replace(
                        before, **{item.name: round(getattr(before, item.name) * factor, 4)}
                    )
                    found = now()
                    if found <= best + 1e-5:
                        chosen[kind] = before
                        continue
                    best = found
                    print(f"{best:.4f} {chosen[kind]}", flush=True)
    for movie in measured:
        score = scores_of(movie, chosen[Weights], chosen[DivisionWeights])  # type: ignore[arg-type]
        print(movie.name, json.dumps({name: round(one, 4) for name, one in score.items()}))
    print(chosen[Weights], chosen[DivisionWeights])


if __name__ == "__main__":
    main()
