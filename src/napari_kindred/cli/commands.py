"""The commands that are not a method's; each takes its parsed arguments, returns the exit code."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..classes.config import TeachConfig
from ..classes.escnet.config import EscTrainConfig
from ..classes.sam.config import SamTrainConfig
from ..core.errors import InputError, OutputError
from ..core.events import finish
from ..entities.config import EntityConfig, TrainConfig
from .classes import count_of
from .entities import print_entities
from .flags import Config, config_of
from .progress_bar import Bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from ..core.events import Event


def teach(given: argparse.Namespace) -> int:
    """Learn classes from examples, and write a vocabulary."""
    config = config_of(given, TeachConfig)
    from ..classes.vocabulary.examples import read_examples
    from ..classes.vocabulary.files import check_place
    from ..classes.vocabulary.teach import iter_teach_classes
    from ..models.feature_cache import FeatureCache
    from .info import card

    examples = read_examples(given.examples)
    check_place(given.out, given.overwrite)
    start = time.perf_counter()
    with Bar() as bar:
        job = iter_teach_classes(examples, config=config, cache=FeatureCache())
        vocabulary = finish(job, bar.report)
    vocabulary.save(given.out, given.overwrite)
    seconds = time.perf_counter() - start
    print(f"{given.out}: {count_of(vocabulary.names)}, {seconds:.1f} s")
    for line in card(vocabulary):
        print(f"  {line}")
    return 0


def demo(given: argparse.Namespace) -> int:
    """Segment a shipped movie."""
    import imageio.v3 as iio

    from ..images import samples
    from ..images.stack import ImageStack, read_image
    from ..load import load_segmentation
    from ..results.atomic import check_folder, replacing
    from . import batch
    from .overview import draw_overview
    from .tasks import EntityTask

    out = given.out or _free_name(Path("napari-kindred-demo"))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is there already; choose another name, or delete it.")
    check_folder(out)
    source = samples.sample_path(given.sample)
    with Bar() as bar:
        task = EntityTask(EntityConfig())
        outcome = batch.process_file(source, out / "labels.tif", task, bar.report)
    image = read_image(source)
    frames = ImageStack.open(image.data, metadata_axes=image.axes)
    with replacing(out / "overview.png") as part:
        iio.imwrite(part, draw_overview(frames, load_segmentation(outcome.out).labels))
    print_entities(outcome)
    for name, what in (
        ("labels.tif", "one label per nucleus or cell"),
        ("labels.csv", "area, centroid, mean intensity and score of each"),
        ("labels.json", "provenance: version, options, weights, device"),
        ("overview.png", "a picture of it"),
    ):
        print(f"  {out / name}  ({what})")
    if given.view:
        return _view(source, outcome.out)
    return 0


def train_entities(given: argparse.Namespace) -> int:
    """Train the entity network."""
    config = _training(given, TrainConfig)
    from ..entities.train import iter_train

    return _train(iter_train(given.data, given.out, config))


def train_sam(given: argparse.Namespace) -> int:
    """Train the promptable model."""
    config = _training(given, SamTrainConfig)
    from ..classes.sam.train import iter_train_sam

    return _train(iter_train_sam(given.data, given.out, config))


def train_classes(given: argparse.Namespace) -> int:
    """Train ESC-Net."""
    config = _training(given, EscTrainConfig)
    from ..classes.escnet.train import iter_train_escnet

    return _train(iter_train_escnet(given.data, given.out, config))


def _train(job: Generator[Event, None, Path]) -> int:
    """Train to the end, or until cancelled, which leaves a checkpoint."""
    with Bar() as bar:
        weights = finish(job, bar.report)
    print(f"Weights: {weights}")
    return 0


def info(given: argparse.Namespace) -> int:
    """Print what is installed, or how a result came about; or empty the cache."""
    from . import info

    if given.clear_cache:
        print(info.clear_cache())
        return 0
    for line in info.installed() if given.file is None else info.of_file(given.file):
        print(line)
    return 0


def _training(given: argparse.Namespace, config: type[Config]) -> Config:
    """Return the options of a training, its data folders having been looked for."""
    options = config_of(given, config)
    for folder in given.data:
        if not folder.is_dir():
            raise InputError(f"There is no folder {str(folder)!r}; check the path.")
    return options


def _view(source: str | Path, labels: Path) -> int:
    """Open napari in a process of its own, so that the command line itself never needs it."""
    command = [
        sys.executable,
        "-m",
        "napari_kindred._napari.results.view",
        str(source),
        str(labels),
    ]
    if subprocess.run(command, check=False).returncode:
        raise InputError("napari could not be opened; install it with pip install 'napari[all]'.")
    return 0


def _free_name(path: Path) -> Path:
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free
