"""Volumes of balls and ellipsoids with known truth, for measuring segmentation in 3-D.

Everything follows from the seed.  Objects are placed on an isotropic grid, blurred as a microscope
blurs (more along z), averaged to slices of the asked thickness, and counted as photons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND = 0.1
"""Photons of the background as a share of those of a typical object."""

BLUR = (2.0, 1.0, 1.0)
"""Standard deviations of the blur along z, y and x, in pixels of the plane."""

OUTSIDE = 0.25
"""Share of an object's diameter by which its centre keeps away from the volume's faces."""

ATTEMPTS = 40
"""Number of places that are tried for an object before the volume counts as full."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """How a volume is made.

    Attributes
    ----------
    shape : tuple of int
        Of the isotropic grid, in pixels of the plane.
    anisotropy : int
        Thickness of a slice over the size of a pixel.
    filled : float
        Share of the volume that objects fill, if there is room.
    touching : float
        Share of the objects that are moved until they touch another one.
    elongation : float
        Largest ratio of an ellipsoid's longest axis to its shortest one; 1 for balls.
    snr : float
        Brightness of a typical object above the background over its noise.
    diameters : tuple of float
        Smallest and largest, in pixels of the plane; drawn evenly on a logarithmic scale.
    """

    shape: tuple[int, int, int] = (96, 128, 128)
    anisotropy: int = 1
    filled: float = 0.25
    touching: float = 0.7
    elongation: float = 1.6
    snr: float = 3.0
    diameters: tuple[float, float] = (12.0, 40.0)

    def make(self, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Return the image (Z, Y, X) and its truth."""
        rng = np.random.default_rng(seed)
        truth, brightness = self._place(rng)
        clean = ndimage.gaussian_filter(brightness[truth], BLUR, mode="nearest")
        step = self.anisotropy
        depth = len(clean) // step * step
        slices = clean[:depth].reshape(-1, step, *clean.shape[1:]).mean(1)
        photons = self.snr**2 * (1 + BACKGROUND)  # S / sqrt(S + background S) = snr
        counts = rng.poisson(photons * (slices + BACKGROUND))
        image = (counts * (4000 / photons) + 100).clip(0, 65535).astype(np.uint16)
        # A thick slice is of the object that its middle lies in.
        return image, _numbered(truth[step // 2 : depth : step])

    def _place(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Place objects until the volume is filled; returns their labels and brightness."""
        truth = np.zeros(self.shape, np.int64)
        brightness, centres = [0.0], []
        wanted = self.filled * truth.size
        failures = 0
        while np.count_nonzero(truth) < wanted and failures < ATTEMPTS:
            body = self._body(rng)
            near = centres[rng.integers(len(centres))] if centres else None
            beside = near is not None and rng.random() < self.touching
            place = self._free_place(truth, body, rng, near if beside else None)
            if place is None:
                failures += 1
                continue
            failures = 0
            _paint(truth, body, place, len(brightness))
            centres.append(place)
            brightness.append(float(rng.uniform(0.7, 1.3)))
        return truth, np.array(brightness, np.float32)

    def _body(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return the voxels of an ellipsoid that is turned at random, in a cube around it."""
        diameter = float(np.exp(rng.uniform(*np.log(self.diameters))))
        axes = np.exp(rng.uniform(0, np.log(self.elongation), 3))
        axes *= diameter / 2 / np.prod(axes) ** (1 / 3)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        half = int(np.ceil(axes.max()))
        grid = np.stack(np.mgrid[tuple(slice(-half, half + 1) for _ in range(3))], -1)
        inside: NDArray[np.bool_] = (((grid @ turn) / axes) ** 2).sum(-1) <= 1
        return inside

    def _free_place(
        self,
        truth: NDArray[np.int64],
        body: NDArray[np.bool_],
        rng: np.random.Generator,
        near: NDArray[np.float64] | None,
    ) -> NDArray[np.float64] | None:
        """Return a centre where nothing is yet: anywhere, or as near to another one as can be."""
        keep = OUTSIDE * body.shape[0]
        low, high = np.full(3, keep), np.array(self.shape) - keep
        if near is None:
            candidates = list(rng.uniform(low, high, (ATTEMPTS, 3)))
        else:
            way = rng.normal(size=3)
            way /= np.linalg.norm(way)
            candidates = [near + way * far for far in np.arange(4, 60, 0.5)]
        for place in candidates:
            if (place < low).any() or (place > high).any():
                continue
            where, part = _window(truth.shape, body, place)
            if not truth[where][body[part]].any():
                return place
        return None


def _window(
    shape: tuple[int, ...], body: NDArray[np.bool_], place: NDArray[np.float64]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a body centred at a place lies in the volume, and which part of it that is."""
    start = np.rint(place).astype(int) - body.shape[0] // 2
    low, high = np.maximum(start, 0), np.minimum(start + body.shape[0], shape)
    where = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
    return where, part


def _paint(
    truth: NDArray[np.int64], body: NDArray[np.bool_], place: NDArray[np.float64], label: int
) -> None:
    where, part = _window(truth.shape, body, place)
    truth[where][body[part]] = label


def _numbered(labels: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return labels 1 … N; thin objects may have fallen between two slices."""
    present, numbers = np.unique(labels, return_inverse=True)
    return (numbers.reshape(labels.shape) + (present[0] > 0)).astype(np.uint16)
