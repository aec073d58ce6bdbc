"""The command ``link``: labels of a movie get the same id for the same object."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..core.errors import KindredError
from ..core.events import finish
from ..images.image_folder import read_folder
from ..images.readers import is_image, read_image
from ..linking.config import LinkConfig
from ..linking.predict import iter_link
from ..load import load_segmentation
from ..results.storage import check_output
from ..results.tables import count_divisions, count_objects, counted
from .flags import config_of
from .progress_bar import Bar
from .report import check_there

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def run(given: argparse.Namespace) -> int:
    """Link the labels of a file or folder, and write the result."""
    config = config_of(given, LinkConfig)
    check_there(given.labels)
    if given.image is not None:
        check_there(given.image)
    check_output(given.out, given.overwrite)
    start = time.perf_counter()
    image = None if given.image is None else _read(given.image)
    with Bar() as bar:
        result = finish(iter_link(_open(given.labels), image, config=config), bar.report)
        result.save(given.out, given.overwrite)
    what = counted(count_objects(result), "object")
    divisions = counted(count_divisions(result), "division")
    seconds = time.perf_counter() - start
    print(f"{given.out}: {what} in {result.labels.shape[0]} frames, {divisions}, {seconds:.1f} s")
    return 0


def _open(path: Path) -> Any:
    """Return a saved result, or any file or folder of labels."""
    try:
        return load_segmentation(path)
    except KindredError:
        return _read(path)


def _read(path: Path) -> Any:
    return read_image(path) if is_image(path) else read_folder(path)
