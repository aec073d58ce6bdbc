"""Movies of cells with their ground truth, simulated.

Cells are star-shaped outlines that wander, push each other apart, divide, and are drawn on a
grid three times finer than the camera's.  A microscope model then makes pictures of them:

* *nuclei*: chromatin texture, per-cell focus, Gaussian point-spread function, out-of-focus haze,
  stage drift, bleaching, Poisson photon noise and Gaussian read noise, 16 bits;
* *phase*: a phase map (body, nucleus, granules) through the band-pass response of positive phase
  contrast, which darkens cells and surrounds them with bright halos, 8 bits.

Everything follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Iterator

FINE = 3
"""Sub-pixels per pixel; odd, so that one of them sits at the pixel's centre."""


@dataclass(frozen=True)
class Movie:
    """What is simulated: the field of view, the cells in it and how they behave."""

    frames: int
    side: int
    pixel: float
    minutes: float
    cells: int
    radius: float
    bumps: float
    elongation: float
    speed: float
    drift: tuple[float, float]
    divisions: int
    gap: float
    """Distance that neighbours keep, as a share of the sum of their radii."""
    grain: float
    """Samples of texture in one cell radius: more is finer."""
    plate: float
    """Aspect of a dividing cell: a flat plate of chromosomes, or a ball."""


NUCLEI = Movie(
    frames=12, side=256, pixel=0.65, minutes=10.0, cells=64, radius=10.5, bumps=0.035,
    elongation=0.22, speed=0.9, drift=(0.8, -1.1), divisions=9, gap=1.0,
    grain=11.0, plate=2.1,
)  # fmt: skip
PHASE = Movie(
    frames=10, side=288, pixel=0.8, minutes=15.0, cells=44, radius=19.0, bumps=0.1,
    elongation=0.7, speed=1.3, drift=(0.3, 0.2), divisions=7, gap=1.05,
    grain=23.0, plate=1.08,
)  # fmt: skip


@dataclass
class Cell:
    """One cell at one time; lengths in pixels, angles in radians."""

    number: int
    parent: int
    first: int
    centre: np.ndarray
    velocity: np.ndarray
    angle: float
    radius: float
    aspect: float
    bumps: np.ndarray
    texture: np.ndarray
    brightness: float
    depth: float
    divides: int | None = None
    age: int = 99
    last: int = field(default=-1)

    def stage(self, time: int, plate: float) -> tuple[float, float, float, float]:
        """Return the factors of size, brightness and bumps, and the aspect, near a division."""
        left = 99 if self.divides is None else self.divides - time
        if left == 1:
            return 0.62, 2.3, 0.3, plate
        if left == 2:
            return 0.86, 1.45, 0.6, 1.05
        if self.age == 0:
            return 0.56, 2.2, 0.3, 0.9 * plate
        if self.age < 5:
            return 0.62 + 0.06 * self.age, 1.5 - 0.1 * self.age, 0.2 * self.age, 1.1
        return 1.0, 1.0, 1.0, self.aspect


def smooth_noise(rng: np.random.Generator, sigma: float, side: int = 48) -> np.ndarray:
    """Return Gaussian noise of unit variance with a correlation length of ``sigma`` samples."""
    noise = ndi.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def new_cell(rng: np.random.Generator, movie: Movie, number: int) -> Cell:
    """Return a cell somewhere in the world, which reaches beyond the field of view."""
    orders = np.arange(2, 7)
    bumps = movie.bumps * (rng.normal(size=5) + 1j * rng.normal(size=5)) / orders**0.9
    texture = 0.75 * smooth_noise(rng, 2.2) + 0.5 * smooth_noise(rng, 1.0)
    margin = 2.5 * movie.radius
    return Cell(
        number=number,
        parent=0,
        first=0,
        centre=rng.uniform(-margin, movie.side + margin, 2),
        velocity=rng.normal(scale=movie.speed, size=2),
        angle=rng.uniform(0, 2 * np.pi),
        radius=movie.radius * np.clip(rng.normal(1, 0.12), 0.75, 1.3),
        aspect=1 + abs(rng.normal(scale=movie.elongation)) + 0.1,
        bumps=bumps,
        texture=texture,
        brightness=float(np.exp(rng.normal(scale=0.35))),
        depth=float(rng.choice([0.0, 0.0, 0.0, 0.8, 1.6])),
    )


def push_apart(cells: list[Cell], gap: float, rounds: int) -> None:
    """Move neighbours away from each other until they barely touch."""
    for _ in range(rounds):
        centres = np.array([cell.centre for cell in cells])
        radii = np.array([cell.radius for cell in cells])
        away = centres[:, None] - centres[None]
        distance = np.hypot(*np.moveaxis(away, -1, 0)) + 1e-6
        overlap = np.clip(gap * (radii[:, None] + radii[None]) - distance, 0, None)
        np.fill_diagonal(overlap, 0)
        shift = (away / distance[..., None] * overlap[..., None]).sum(1) * 0.3
        for cell, step in zip(cells, shift, strict=True):
            cell.centre = cell.centre + step


def divide(mother: Cell, numbers: Iterator[int], time: int, rng: np.random.Generator) -> list[Cell]:
    """Return the two daughters of ``mother``, apart along the short axis of its plate."""
    mother.last = time - 1
    axis = np.array([np.cos(mother.angle), -np.sin(mother.angle)])
    return [
        Cell(
            number=next(numbers),
            parent=mother.number,
            first=time,
            centre=mother.centre + side * axis * mother.radius * 0.62,
            velocity=side * axis * 0.6,
            angle=mother.angle + rng.normal(scale=0.1),
            radius=mother.radius * 0.92,
            aspect=1.15,
            bumps=mother.bumps * rng.uniform(-1, 1, 5),
            texture=0.75 * smooth_noise(rng, 2.2) + 0.5 * smooth_noise(rng, 1.0),
            brightness=mother.brightness,
            depth=mother.depth,
            age=0,
        )
        for side in (-1, 1)
    ]


def move(cell: Cell, movie: Movie, rng: np.random.Generator) -> None:
    """Let a cell wander, turn and change its outline a little."""
    cell.velocity = 0.7 * cell.velocity + rng.normal(scale=0.5 * movie.speed, size=2)
    cell.centre = cell.centre + cell.velocity + np.array(movie.drift) + rng.normal(scale=0.15)
    cell.angle += rng.normal(scale=0.06)
    wobble = rng.normal(size=5) + 1j * rng.normal(size=5)
    cell.bumps = 0.95 * cell.bumps + 0.15 * movie.bumps * wobble / np.arange(2, 7) ** 0.9
    cell.age += 1


def live(movie: Movie, rng: np.random.Generator) -> Iterator[tuple[int, list[Cell]]]:
    """Yield the cells of every frame."""
    cells = [new_cell(rng, movie, number) for number in range(1, movie.cells + 1)]
    numbers = iter(range(movie.cells + 1, 10 * movie.cells))
    push_apart(cells, movie.gap * 1.08, rounds=300)
    inside = [c for c in cells if np.all((c.centre > 20) & (c.centre < movie.side - 20))]
    for order, mother in enumerate(rng.permutation(np.array(inside, dtype=object))):
        if order < movie.divisions:
            mother.divides = 3 + order * (movie.frames - 3) // movie.divisions
    for time in range(movie.frames):
        if time:
            for cell in cells:
                move(cell, movie, rng)
            dividing = [cell for cell in cells if cell.divides == time]
            cells = [cell for cell in cells if cell.divides != time]
            for mother in dividing:
                cells += divide(mother, numbers, time, rng)
            push_apart([cell for cell in cells if cell.age > 0], movie.gap, rounds=4)
        yield time, cells


@dataclass
class Drawing:
    """The cells of one frame on the fine grid; maps are (side * FINE, side * FINE)."""

    owner: np.ndarray
    rim: np.ndarray
    """Distance from the centre as a share of the way to the outline: 0 centre, 1 outline."""
    texture: np.ndarray
    near: np.ndarray
    """The same as ``rim`` for the cell's inner organelle (nucleus or nucleoli)."""


def draw(cells: list[Cell], movie: Movie, time: int) -> Drawing:
    """Draw outlines and textures; where two cells meet, the nearer centre wins."""
    size = movie.side * FINE
    out = Drawing(
        np.zeros((size, size), np.int32),
        np.ones((size, size)),
        np.zeros((size, size)),
        np.full((size, size), 9.0),
    )
    for cell in cells:
        shrink, _, rough, aspect = cell.stage(time, movie.plate)
        radius = cell.radius * shrink
        reach = radius * aspect * 1.6
        low = np.clip(np.floor((cell.centre - reach) * FINE), 0, size).astype(int)
        high = np.clip(np.ceil((cell.centre + reach) * FINE), 0, size).astype(int)
        if np.any(high <= low):
            continue
        window = np.s_[low[0] : high[0], low[1] : high[1]]
        y, x = np.mgrid[window]
        y, x = (y + 0.5) / FINE - cell.centre[0], (x + 0.5) / FINE - cell.centre[1]
        along = (np.sin(cell.angle) * y + np.cos(cell.angle) * x) / (radius * np.sqrt(aspect))
        across = (np.cos(cell.angle) * y - np.sin(cell.angle) * x) / (radius / np.sqrt(aspect))
        theta = np.arctan2(across, along)
        waves = np.exp(1j * theta[..., None] * np.arange(2, 7))
        outline = np.clip(1 + rough * (waves * cell.bumps).sum(-1).real, 0.45, 1.6)
        rim = np.hypot(along, across) / outline
        wins = rim < out.rim[window]
        out.rim[window][wins] = rim[wins]
        out.owner[window][wins] = cell.number
        place = np.stack([across, along]) * movie.grain + 24
        texture = ndi.map_coordinates(cell.texture, place, order=1, mode="wrap")
        out.texture[window][wins] = texture[wins]
        offset = cell.bumps[:2].real * 2
        near = np.hypot(along * 0.8 - offset[0], across * 0.8 - offset[1]) / 0.34
        out.near[window][wins] = near[wins]
    return out


def per_cell(drawing: Drawing, cells: list[Cell], value: dict[int, float]) -> np.ndarray:
    """Return a map holding each cell's value, 0 outside cells."""
    table = np.zeros(max(cell.number for cell in cells) + 1)
    for number, entry in value.items():
        table[number] = entry
    return table[drawing.owner]


def binned(fine: np.ndarray) -> np.ndarray:
    """Return what camera pixels collect from a map on the fine grid."""
    side = fine.shape[0] // FINE
    return fine.reshape(side, FINE, side, FINE).mean((1, 3))


def truth(drawing: Drawing) -> np.ndarray:
    """Return the label at every pixel's centre, each label in one piece."""
    labels = drawing.owner[FINE // 2 :: FINE, FINE // 2 :: FINE].copy()
    for number in np.unique(labels[labels > 0]):
        pieces, count = ndi.label(labels == number)
        if count > 1:
            largest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1
            labels[(pieces > 0) & (pieces != largest)] = 0
    return labels.astype(np.uint16)


def light(movie: Movie) -> np.ndarray:
    """Return the illumination, brightest a little off the middle."""
    y, x = np.mgrid[: movie.side, : movie.side] / movie.side - np.array([0.45, 0.56])[:, None, None]
    return 1 - 0.35 * (y**2 + x**2)


def fluorescence(
    drawing: Drawing, cells: list[Cell], movie: Movie, time: int, rng: np.random.Generator
) -> np.ndarray:
    """Return one camera frame of stained nuclei, uint16."""
    body = np.sqrt(np.clip(1 - drawing.rim**2, 0, 1))
    stain = (0.55 + 0.45 * body) * np.clip(1 + 0.2 * drawing.texture, 0.2, None)
    stain *= 1 - 0.45 * np.exp(-(drawing.near**2) * 1.5)
    photons = np.zeros((movie.side, movie.side))
    for depth in sorted({cell.depth for cell in cells}):
        glow = {
            cell.number: cell.brightness * cell.stage(time, movie.plate)[1]
            for cell in cells
            if cell.depth == depth
        }
        plane = per_cell(drawing, cells, glow) * stain * (drawing.owner > 0)
        photons += binned(ndi.gaussian_filter(plane, FINE * np.hypot(0.9, depth)))
    photons += 0.10 * ndi.gaussian_filter(photons, 14) + 0.05 * ndi.gaussian_filter(photons, 5)
    exposure = 62 * np.exp(-0.012 * time) * light(movie)
    electrons = rng.poisson(photons * exposure + 6.0) + rng.normal(scale=1.8, size=photons.shape)
    return np.clip(100 + 2.2 * electrons, 0, 65535).round().astype(np.uint16)


def phase_contrast(
    drawing: Drawing, cells: list[Cell], movie: Movie, dirt: np.ndarray, rng: np.random.Generator,
    time: int,
) -> np.ndarray:  # fmt: skip
    """Return one camera frame in positive phase contrast, uint8."""
    tall = {cell.number: cell.stage(time, movie.plate)[1] ** 2.9 for cell in cells}
    dome = np.clip(1 - drawing.rim**2, 0, 1)
    body = per_cell(drawing, cells, tall) * (0.26 + 0.5 * dome)
    granules = (
        0.55 * np.clip(drawing.texture - 0.5, -0.4, 1.5) * np.exp(-((drawing.rim / 0.7) ** 4))
    )
    envelope = 0.16 * np.exp(-((drawing.near - 1) ** 2) * 90) - 0.1 * (drawing.near < 1)
    nucleoli = 0.8 * (np.clip(drawing.texture, 0.9, 2) - 0.9) * (drawing.near < 0.8)
    inside = drawing.owner > 0
    thickness = inside * (body + granules * (drawing.near > 1) + envelope + nucleoli)
    thickness = binned(ndi.gaussian_filter(thickness, 0.75 * FINE)) + dirt
    halo = 0.55 * ndi.gaussian_filter(thickness, 3.5) + 0.45 * ndi.gaussian_filter(thickness, 10)
    picture = 128 * light(movie) * (1 - 0.7 * np.sin(1.2 * (thickness - 1.02 * halo)))
    noise = rng.normal(scale=1.0, size=picture.shape) * np.sqrt(np.clip(picture, 1, None)) * 0.2
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def specks(movie: Movie, rng: np.random.Generator) -> np.ndarray:
    """Return the phase of dirt that sticks to the dish."""
    dirt = np.zeros((movie.side, movie.side))
    for y, x in rng.integers(0, movie.side, (26, 2)):
        dirt[y, x] = rng.uniform(3, 14)
    return ndi.gaussian_filter(dirt, 1.0)


def simulate(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, list[Cell]]:
    """Return the movie ``(T, Y, X)``, its labels ``(T, Y, X)`` and every cell that was seen."""
    rng = np.random.default_rng(seed)
    movie = {"nuclei": NUCLEI, "phase": PHASE}[name]
    dirt = specks(movie, rng)
    frames, labels, everyone = [], [], {}
    for time, cells in live(movie, rng):
        drawing = draw(cells, movie, time)
        everyone.update({cell.number: cell for cell in cells})
        labels.append(truth(drawing))
        if name == "nuclei":
            frames.append(fluorescence(drawing, cells, movie, time, rng))
        else:
            frames.append(phase_contrast(drawing, cells, movie, dirt, rng, time))
    return np.stack(frames), np.stack(labels), list(everyone.values())
