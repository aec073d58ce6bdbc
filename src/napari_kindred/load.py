"""Saved results, read back as what they were saved as."""

from __future__ import annotations

from pathlib import Path

from .methods import method_of
from .results.segmentation import Segmentation
from .results.storage import read_about


def load_segmentation(path: str | Path) -> Segmentation:
    """Read back what :meth:`Segmentation.save` wrote.

    Parameters
    ----------
    path : str or Path
        ``NAME.ome.zarr`` or ``NAME.tif``; the labels of a large OME-Zarr stay on disk, as zarr.

    Returns
    -------
    Segmentation
        :class:`ClusterSegmentation` and :class:`ClassSegmentation` if such a result was saved;
        labels that were edited in napari are a plain :class:`Segmentation`.

    Raises
    ------
    OutputError
        When there is no result at this path, or when it is damaged.
    """
    path = Path(path)
    facts = read_about(path)
    method = None if "edited" in facts else method_of(facts)
    kind: type[Segmentation] = Segmentation if method is None else method.result
    return kind.load(path)
