"""Samples that need no network: two shipped movies, a stack, and pictures of scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known about a sample before it is opened.

    Attributes
    ----------
    title : str
        Name shown to users.
    axes : str
        One letter per axis of the data, among ``T C Z Y X S``.
    scale : tuple of float, or None
        Size of a step along each axis but ``S``; None where it is not known.
    units : tuple of str, or None
        Unit of each entry of ``scale``.
    file : str
        File name in ``sample_data``, or in scikit-image's ``data`` folder where ``truth`` is empty.
    truth : str
        File name of the ground truth in ``sample_data``; empty where there is none.
    about : str
        One sentence on origin and licence.
    """

    title: str
    axes: str
    scale: tuple[float, ...] | None
    units: tuple[str, ...] | None
    file: str
    truth: str
    about: str


@dataclass(frozen=True, slots=True, eq=False)
class OpenSample:
    """A sample read into memory.

    Attributes
    ----------
    name : str
        Key in :data:`SAMPLES`.
    data : ndarray
        The picture or movie, axes as in ``axes``.
    axes, scale, units
        As in :class:`Sample`.
    truth : ndarray of uint16, or None
        Ground truth of the shape of ``data``: 0 is background, and a cell keeps its number through
        the whole movie; daughters get new ones.
    """

    name: str
    data: np.ndarray
    axes: str
    scale: tuple[float, ...] | None
    units: tuple[str, ...] | None
    truth: np.ndarray | None


SAMPLES: dict[str, Sample] = {
    "nuclei": Sample(
        "Dividing nuclei, fluorescence (simulated)",
        "TYX",
        (1.0, 0.65, 0.65),
        ("pixel", "micrometer", "micrometer"),
        "nuclei_timelapse.ome.tif",
        "nuclei_timelapse_truth.ome.tif",
        "Simulated by benchmarks/make_samples.py, one frame every 10 minutes; CC0.",
    ),
    "phase": Sample(
        "Crawling cells, phase contrast (simulated)",
        "TYX",
        (1.0, 0.8, 0.8),
        ("pixel", "micrometer", "micrometer"),
        "phase_timelapse.ome.tif",
        "phase_timelapse_truth.ome.tif",
        "Simulated by benchmarks/make_samples.py, one frame every 15 minutes; CC0.",
    ),
    "stack": Sample(
        "Touching nuclei in 3-D, fluorescence (simulated)",
        "ZYX",
        (1.0, 0.5, 0.5),
        ("micrometer", "micrometer", "micrometer"),
        "nuclei_stack.ome.tif",
        "nuclei_stack_truth.ome.tif",
        "Simulated by benchmarks/make_samples.py; CC0.",
    ),
    "ihc": Sample(
        "Colon glands, immunohistochemistry",
        "YXS",
        None,
        None,
        "ihc.png",
        "",
        "Comes with scikit-image: FHL2 in brown, haematoxylin in blue, acquired at the Center for "
        "Microscopy and Molecular Imaging; no known copyright restrictions.",
    ),
    "cell": Sample(
        "One cell, quantitative phase",
        "YX",
        (0.107, 0.107),
        ("micrometer", "micrometer"),
        "cell.png",
        "",
        "Comes with scikit-image: Müller et al., Optics Express 26:10729 (2018); CC0.",
    ),
}
"""Every sample this package knows, by the name that :func:`open_sample` takes."""


def sample_path(name: str) -> Path:
    """Return where a sample's picture lies on this machine.

    Parameters
    ----------
    name : str
        A key of :data:`SAMPLES`.

    Raises
    ------
    InputError
        For a name that is no sample, or one whose file is missing from this installation.
    """
    if name not in SAMPLES:
        raise InputError(f"There is no sample {name!r}; the samples are {', '.join(SAMPLES)}.")
    sample = SAMPLES[name]
    return _find(sample.file, library=not sample.truth)


def available() -> list[str]:
    """Return the names of the samples whose files are on this machine."""
    found = []
    for name in SAMPLES:
        try:
            sample_path(name)
        except InputError:
            continue
        found.append(name)
    return found


def open_sample(name: str) -> OpenSample:
    """Read a sample; no network is needed.

    Parameters
    ----------
    name : str
        A key of :data:`SAMPLES`: ``nuclei``, ``phase``, ``stack``, ``ihc`` or ``cell``.

    Returns
    -------
    OpenSample
        ``nuclei`` is uint16 ``(12, 256, 256)``, ``phase`` uint8 ``(10, 288, 288)``,
        ``stack`` uint16 ``(32, 96, 96)``, all with ground truth; ``ihc`` is uint8
        ``(512, 512, 3)`` and ``cell`` uint8 ``(660, 550)``.

    Raises
    ------
    InputError
        For a name that is no sample, or one whose file is missing from this installation.
    """
    path = sample_path(name)
    sample = SAMPLES[name]
    truth = _read(_find(sample.truth, library=False)) if sample.truth else None
    return OpenSample(name, _read(path), sample.axes, sample.scale, sample.units, truth)


def _find(file: str, *, library: bool) -> Path:
    """Return the path of a sample file, in the wheel, the checkout or scikit-image."""
    package = Path(__file__).resolve().parents[1]
    if library:
        import skimage

        places = [Path(skimage.__file__).parent / "data"]
        remedy = "install another version of scikit-image, or take another sample"
    else:
        # A wheel carries the folder inside the package; a checkout has it at its root.
        places = [package / "sample_data", package.parents[1] / "sample_data"]
        remedy = "install napari-kindred again"
    for place in places:
        if (place / file).is_file():
            return place / file
    raise InputError(f"The sample file {file} is not part of this installation; {remedy}.")


def _read(path: Path) -> np.ndarray:
    """Read a small picture whole."""
    import numpy as np

    if path.suffix == ".png":
        from skimage.io import imread

        return np.asarray(imread(path))
    import tifffile

    return np.asarray(tifffile.imread(path))
