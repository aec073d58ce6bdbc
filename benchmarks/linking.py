"""Links over time next to ground truth: plain overlap, ours and LapTrack, on the same labels.

    python benchmarks/linking.py DATA_DIR [--movies NAME,…] [--labels truth,ours] [--cache DIR]

``DATA_DIR`` holds movies, each a folder with ``images/`` and ``labels/`` of the same names (ids are
those of tracks), and a ``man_track.txt`` where cells divide.  All of it is used to measure only.
Every row links the same labels: once the true masks, with ids shuffled in every frame, and once
what ``napari-kindred entities`` finds, which ``--cache`` keeps for the next run.

A link joins an object to the next frame in which it is, or a mother to a daughter.  *Found* is the
recall of the links whose two objects were found at an IoU of one half.  TRA and LNK are those of
the Cell Tracking Challenge.  Trackastra was not run: its weights are not in its package.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from meanshift import hardware
from tables import keep

import napari_kindred as nk
from napari_kindred.images.readers import list_images, read_image
from napari_kindred.linking.metrics import TrackScores
from napari_kindred.results.metrics import overlaps

NAME = "linking"
MOVIES = {
    "ctc_fluo_hela_01": "labels",
    "ctc_phc_psc_02": "labels",
    "yeast_phase": "labels",
    "cellphe_track": "labels",
    "usiigaci_t98g_sequence": "labels_automatic",
}
AUTOMATIC = ("cellphe_track", "usiigaci_t98g_sequence")
"""Movies whose tracks are those of another program."""

COLUMNS = {
    "link_F1": "link F1",
    "link_recall": "recall",
    "link_precision": "precision",
    "link_found_recall": "found",
    "division_F1": "division F1",
    "TRA": "TRA",
    "LNK": "LNK",
    "SEG": "SEG",
}

Linked = tuple[list[np.ndarray], dict[int, int]]
"""Labels of all frames with the ids of tracks, and the parent of each track that has one."""


@dataclass(frozen=True)
class Movie:
    """A movie and its truth."""

    name: str
    images: list[Path]
    truth: list[np.ndarray]
    parents: dict[int, int]

    @classmethod
    def open(cls, folder: Path) -> Movie:
        """Read a folder."""
        labels = list_images(folder / MOVIES[folder.name])
        truth = [np.asarray(read_image(file).data).astype(np.int64) for file in labels]
        lineage = folder / "man_track.txt"
        rows = lineage.read_text().splitlines() if lineage.exists() else []
        parents = {int(row.split()[0]): int(row.split()[3]) for row in rows if row.strip()}
        return cls(folder.name, list_images(folder / "images"), truth, parents)

    def shuffled(self) -> np.ndarray:
        """Return the true masks, their ids in another order in every frame."""
        rng = np.random.default_rng(0)
        frames = []
        for labels in self.truth:
            ids = np.unique(labels)
            ids = ids[ids > 0]
            table = np.zeros(int(labels.max()) + 1, np.int32)
            table[ids] = rng.permutation(len(ids)) + 1
            frames.append(table[labels])
        return np.stack(frames)

    def found(self, cache: Path | None) -> np.ndarray:
        """Return the labels of our own segmentation, ids per frame."""
        file = None if cache is None else cache / f"{self.name}.npz"
        if file is not None and file.exists():
            return np.load(file)["labels"]
        movie = np.stack([np.asarray(read_image(image).data) for image in self.images])
        labels = np.asarray(nk.segment_entities(movie, axes="TYX").labels)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, labels=labels)
        return labels


def ours(labels: np.ndarray) -> Linked:
    result = nk.link(labels, axes="TYX")
    tracks = result.tracks
    return list(result.labels), dict(zip(tracks["track"], tracks["parent"], strict=True))


def plain_overlap(labels: np.ndarray) -> Linked:
    """Give each object the id of what it overlaps most in the frame before, best pairs first."""
    linked, last = [], 0
    for frame in labels:
        ids = np.unique(frame)
        table = np.zeros(int(frame.max()) + 1, np.int32)
        if linked:
            pairs, taken = overlaps(linked[-1], frame), set()
            for place in np.argsort(-pairs.iou, kind="stable"):
                before, after = int(pairs.first[place]), int(pairs.second[place])
                if before not in taken and not table[after]:
                    table[after] = before
                    taken.add(before)
        for one in ids[ids > 0]:
            if not table[one]:
                last += 1
                table[one] = last
        linked.append(table[frame])
    return linked, {}


def rows_of(labels: np.ndarray) -> pd.DataFrame:
    """Return frame, label, centroid and area of each object."""
    from skimage.measure import regionprops_table

    tables = []
    for number, frame in enumerate(labels):
        found = regionprops_table(frame, properties=("label", "centroid", "area"))
        tables.append(pd.DataFrame(found).assign(frame=number))
    return pd.concat(tables, ignore_index=True)


def laptrack_distance(labels: np.ndarray) -> Linked:
    """Link by the distance of centroids, at most one and a half median diameters."""
    from laptrack import LapTrack

    rows = rows_of(labels)
    reach = (1.5 * 2 * np.sqrt(rows["area"].median() / np.pi)) ** 2
    tracker = LapTrack(
        cutoff=reach,
        gap_closing_cutoff=reach,
        gap_closing_max_frame_count=2,
        splitting_cutoff=reach,
    )
    tracks, splits, _ = tracker.predict_dataframe(
        rows, ["centroid-0", "centroid-1"], only_coordinate_cols=False
    )
    return _painted(labels, tracks, splits)


def laptrack_overlap(labels: np.ndarray) -> Linked:
    """Link by the share that two objects have in common."""
    from laptrack import OverLapTrack

    tracker = OverLapTrack(
        cutoff=0.9, gap_closing_cutoff=0.9, gap_closing_max_frame_count=2, splitting_cutoff=0.9
    )
    tracks, splits, _ = tracker.predict_overlap_dataframe(labels)
    return _painted(labels, tracks.reset_index(), splits)


def _painted(labels: np.ndarray, tracks: pd.DataFrame, splits: pd.DataFrame) -> Linked:
    """Give labels the ids of LapTrack's tracks."""
    linked = [np.zeros(frame.shape, np.int32) for frame in labels]
    for number, rows in tracks.groupby("frame"):
        table = np.zeros(int(labels[number].max()) + 1, np.int32)
        table[rows["label"].to_numpy(int)] = rows["track_id"].to_numpy(int) + 1
        linked[number] = table[labels[number]]
    parents = {}
    if len(splits):
        parents = dict(
            zip(splits["child_track_id"] + 1, splits["parent_track_id"] + 1, strict=True)
        )
    return linked, parents


ROWS: dict[str, Callable[[np.ndarray], Linked]] = {
    "plain overlap": plain_overlap,
    "LapTrack, distance": laptrack_distance,
    "LapTrack, overlap": laptrack_overlap,
    "ours": ours,
}


def measured(movie: Movie, labels: np.ndarray, row: Callable[[np.ndarray], Linked]) -> dict:
    start = time.process_time()
    linked, parents = row(labels)
    seconds = (time.process_time() - start) / len(labels)
    scores = TrackScores()
    for truth, found in zip(movie.truth, linked, strict=True):
        scores.add(truth, found)
    return {**scores.scores(movie.parents, parents), "seconds": seconds}


def markdown(result: dict) -> str:
    """Return a table per kind of labels."""
    parts = []
    for kind, title in (("truth", "True masks"), ("ours", "Our own labels")):
        if kind not in result["labels"]:
            continue
        head = ["movie", "row", *COLUMNS.values(), "s per frame"]
        parts += [
            f"{title}:",
            "",
            f"| {' | '.join(head)} |",
            "|---|---|" + "---|" * (len(head) - 2),
        ]
        for name, rows in result["labels"][kind].items():
            for row, scores in rows.items():
                cells = [
                    ""
                    if column == "division_F1" and not scores["divisions"]
                    else f"{scores[column]:.3f}"
                    for column in COLUMNS
                ]
                movie = f"{name}*" if name in AUTOMATIC else name
                parts.append(f"| {movie} | {row} | {' | '.join(cells)} | {scores['seconds']:.3f} |")
        parts.append("")
    parts += [f"\\* tracks of another program. {result['hardware']}."]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--movies", default=",".join(MOVIES))
    parser.add_argument("--labels", default="truth,ours")
    parser.add_argument("--rows", default="", help="of the table, separated by ';'; all if empty")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="for our own labels")
    parser.add_argument("--out", type=Path, help="another JSON file; the pages stay as they are")
    given = parser.parse_args()
    chosen = given.rows.split(";") if given.rows else list(ROWS)
    result: dict = {"hardware": hardware(), "labels": {}}
    for kind in given.labels.split(","):
        result["labels"][kind] = {}
        for name in given.movies.split(","):
            movie = Movie.open(given.data / name)
            labels = movie.shuffled() if kind == "truth" else movie.found(given.cache)
            rows = {row: measured(movie, labels, ROWS[row]) for row in chosen}
            result["labels"][kind][name] = rows
            for row, scores in rows.items():
                print(kind, name, row, {k: round(v, 4) for k, v in scores.items()}, flush=True)
    keep(NAME, result, {NAME: markdown(result)}, given.out)


if __name__ == "__main__":
    main()
