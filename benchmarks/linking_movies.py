"""Simulated movies of cells whose tracks are known, for choosing the settings of linking.

Cells are ellipses that wander, grow, push each other away and divide; a movie may be sampled at
irregular times, drift as a whole, and lack, cut or merge some of its objects as segmentation does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

PIECE = 1_000_000
"""Ids from here on are pieces that segmentation made."""


@dataclass(frozen=True)
class Movie:
    """Labels whose ids are those of tracks, the track that each divided from."""

    name: str
    labels: list[np.ndarray]
    parents: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """What the cells of a movie are like; lengths in pixels, times in unit steps."""

    name: str
    diameter: float = 18.0
    stretch: float = 1.3
    """Length of a cell as a multiple of its width."""
    jitter: float = 0.08
    """Step of the random walk, in diameters."""
    persistence: float = 0.6
    cycle: float = 40.0
    """Unit steps from division to division."""
    rounding: float = 0.75
    """Share of its area that a mother keeps just before she divides."""
    daughters: float = 0.55
    """Area of a daughter as a share of the full one."""
    recovery: float = 0.75
    """Share of the time between divisions after which a daughter has her full size."""
    leaps: float = 0.005
    """Share of cells that leap in a step, by about half a diameter."""
    margin: float = 1.5
    """Width of the field around the frame, in diameters, from which cells come in."""
    apart: float = 0.5
    """Distance of a daughter from her mother, in diameters."""
    outline: float = 0.12
    """Spread of the logarithm of an object's area from frame to frame, as outlines vary."""
    count: int = 60
    side: int = 360
    steps: tuple[int, ...] = (1,)
    """Unit steps from frame to frame, in turns."""
    drift: float = 0.0
    """Largest drift from frame to frame, in diameters."""
    turn: float = 0.0
    """Rotation of the whole field from frame to frame, in radians."""
    missed: float = 0.03
    cut: float = 0.01
    merged: float = 0.01
    frames: int = 12


NUCLEI = Kind("nuclei")
RODS = Kind(
    "rods",
    stretch=2.5,
    jitter=0.03,
    cycle=12.0,
    rounding=1.0,
    daughters=0.5,
    apart=0.75,
    leaps=0.0,
    count=6,
    frames=24,
)

CONDENSING = replace(NUCLEI, name="nuclei, condensing", rounding=0.5, daughters=0.45, recovery=0.25)
"""Chromatin condenses before a division and spreads again within a few frames."""

FEW = replace(CONDENSING, name="nuclei, few frames", steps=(1, 4, 2, 2, 5, 3))

KINDS = (
    NUCLEI,
    replace(CONDENSING, steps=(2,)),
    FEW,
    replace(FEW, name="nuclei, few frames, true masks", missed=0.0, cut=0.0, merged=0.0),
    replace(NUCLEI, name="nuclei, drift", drift=0.5, steps=(2,)),
    replace(NUCLEI, name="nuclei, dense", count=150, steps=(2, 1, 3)),
    replace(NUCLEI, name="nuclei, fast", jitter=0.3, cycle=60.0),
    replace(NUCLEI, name="nuclei, sparse and fast", jitter=0.5, count=15, side=420),
    replace(NUCLEI, name="nuclei, turning", turn=0.06, count=120),
    RODS,
    replace(RODS, name="rods, colony", count=40, frames=20, side=420),
    replace(
        RODS,
        name="rods, few frames, true masks",
        steps=(2,),
        frames=14,
        missed=0.0,
        cut=0.0,
        merged=0.0,
    ),
)


@dataclass
class _Cells:
    place: np.ndarray
    velocity: np.ndarray
    angle: np.ndarray
    age: np.ndarray
    cycle: np.ndarray
    track: np.ndarray


def simulate(kind: Kind, seed: int) -> Movie:
    """Return a movie of a kind."""
    rng = np.random.default_rng([seed, len(kind.name), kind.count])
    n, spread = kind.count, 1.2 * kind.diameter * np.sqrt(kind.count)
    if kind.stretch < 2:
        spread = kind.side + 2 * kind.margin * kind.diameter
        n = round(n * (spread / kind.side) ** 2)
    cells = _Cells(
        kind.side / 2 + (rng.random((n, 2)) - 0.5) * spread,
        np.zeros((n, 2)),
        rng.random(n) * np.pi,
        rng.random(n) * kind.cycle,
        kind.cycle * rng.uniform(0.8, 1.2, n),
        np.arange(1, n + 1),
    )
    for _ in range(30):
        _push(cells, kind)
    parents: dict[int, int] = {}
    drift, frames = np.zeros(2), []
    for frame in range(kind.frames):
        for _ in range(kind.steps[frame % len(kind.steps)]):
            _step(cells, kind, parents, rng)
        drift = drift + rng.uniform(-1, 1, 2) * kind.drift * kind.diameter
        turned = replace(cells, place=_turned(cells.place, frame * kind.turn, kind.side))
        frames.append(_draw(turned, kind, drift, rng))
    frames, parents = _as_seen(frames, parents)
    return Movie(f"simulated {kind.name}", [_spoilt(frame, kind, rng) for frame in frames], parents)


def _as_seen(
    frames: list[np.ndarray], parents: dict[int, int]
) -> tuple[list[np.ndarray], dict[int, int]]:
    """Give a new id to a cell that left the frame and comes back; mothers are those just seen."""
    now: dict[int, int] = {}
    known: set[int] = set()
    before: set[int] = set()
    last, seen, mothers = PIECE // 2, [], {}
    for frame in frames:
        ids = set(np.unique(frame).tolist()) - {0}
        for one in sorted(ids - before):
            if one in known:
                last += 1
                now[one] = last
            elif parents.get(one) in before:
                mothers[one] = now.get(parents[one], parents[one])
        table = np.arange(int(frame.max(initial=0)) + 1)
        for one in ids & now.keys():
            table[one] = now[one]
        seen.append(table[frame].astype(np.int32))
        known, before = known | ids, ids
    return seen, mothers


def _turned(place: np.ndarray, angle: float, side: int) -> np.ndarray:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (place - side / 2) @ turn + side / 2


def _step(cells: _Cells, kind: Kind, parents: dict[int, int], rng: np.random.Generator) -> None:
    noise = rng.normal(0, kind.jitter * kind.diameter, cells.place.shape)
    noise[rng.random(len(noise)) < kind.leaps] *= 0.5 / kind.jitter
    cells.velocity = kind.persistence * cells.velocity + noise
    cells.place = cells.place + cells.velocity
    cells.angle = cells.angle + rng.normal(0, 0.1, len(cells.angle))
    cells.age = cells.age + 1
    ready = np.flatnonzero(cells.age > cells.cycle)
    if len(ready):
        axis = np.stack([np.sin(cells.angle[ready]), np.cos(cells.angle[ready])], 1)
        way = axis * kind.apart * kind.diameter * rng.uniform(0.8, 1.2, (len(ready), 1))
        first = int(cells.track.max(initial=0)) + 1
        new = np.arange(first, first + 2 * len(ready))
        parents.update(zip(new.tolist(), np.tile(cells.track[ready], 2).tolist(), strict=True))
        stay = np.setdiff1d(np.arange(len(cells.age)), ready)
        mother = cells.place[ready]
        turn = 0.0 if kind.stretch > 2 else np.pi / 2
        cells.place = np.concatenate([cells.place[stay], mother - way, mother + way])
        cells.velocity = np.concatenate([cells.velocity[stay], -0.15 * way, 0.15 * way])
        cells.angle = np.concatenate([cells.angle[stay], np.tile(cells.angle[ready] + turn, 2)])
        cells.age = np.concatenate([cells.age[stay], np.zeros(2 * len(ready))])
        cycle = kind.cycle * rng.uniform(0.8, 1.2, 2 * len(ready))
        cells.cycle = np.concatenate([cells.cycle[stay], cycle])
        cells.track = np.concatenate([cells.track[stay], new])
    for _ in range(4):
        _push(cells, kind)


def _push(cells: _Cells, kind: Kind) -> None:
    """Move cells apart that are closer than their sizes allow."""
    way = cells.place[:, None] - cells.place[None]
    distance = np.linalg.norm(way, axis=2) + 1e-6
    size = np.sqrt(_areas(cells, kind) * 4 / np.pi)
    wanted = 0.45 * (size[:, None] + size[None])
    force = np.clip(wanted - distance, 0, None) / distance
    np.fill_diagonal(force, 0)
    cells.place = cells.place + 0.3 * (force[..., None] * way).sum(1)


def _areas(cells: _Cells, kind: Kind) -> np.ndarray:
    """Return areas in pixels, which grow from division to division."""
    full = np.pi / 4 * kind.diameter**2
    share = cells.age / cells.cycle
    grown = kind.daughters + (1 - kind.daughters) * np.clip(share / kind.recovery, 0, 1)
    # A mother rounds up shortly before she divides.
    return full * grown * np.where(cells.cycle - cells.age < 1.5, kind.rounding, 1.0)


def _draw(cells: _Cells, kind: Kind, drift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((kind.side, kind.side), np.int32)
    nearest = np.full(labels.shape, np.inf)
    area = _areas(cells, kind) * np.exp(rng.normal(0, kind.outline, len(cells.track)))
    width = np.sqrt(area * 4 / np.pi / kind.stretch) / 2
    for place, angle, half, track in zip(
        cells.place + drift, cells.angle, width, cells.track, strict=True
    ):
        reach = int(half * kind.stretch) + 2
        low = np.clip(np.floor(place).astype(int) - reach, 0, kind.side)
        high = np.clip(np.floor(place).astype(int) + reach + 1, 0, kind.side)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        y, x = np.mgrid[window]
        y, x = y - place[0], x - place[1]
        along = (np.sin(angle) * y + np.cos(angle) * x) / (half * kind.stretch)
        across = (np.cos(angle) * y - np.sin(angle) * x) / half
        far = along**2 + across**2
        mine = (far < 1) & (far < nearest[window])
        labels[window][mine] = track
        nearest[window][mine] = far[mine]
    return labels


def _spoilt(labels: np.ndarray, kind: Kind, rng: np.random.Generator) -> np.ndarray:
    """Leave out, cut and merge some objects; a piece that is no track has an id above 1e6."""
    labels = labels.copy()
    for track in np.unique(labels[labels > 0]).tolist():
        y, x = np.nonzero(labels == track)
        luck = rng.random()
        if len(y) < 12 or luck < kind.missed:
            labels[y, x] = 0
        elif luck < kind.missed + kind.cut:
            piece = y + x > np.quantile(y + x, 0.6)
            labels[y[piece], x[piece]] = PIECE + track
        elif luck < kind.missed + kind.cut + kind.merged:
            edge = labels[np.clip(y + 2, 0, kind.side - 1), x]
            others = edge[(edge > 0) & (edge != track) & (edge < PIECE)]
            if len(others):
                labels[labels == others[0]] = track
    return labels
