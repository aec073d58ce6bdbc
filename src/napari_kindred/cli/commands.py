"""The commands of the command line; each takes its parsed arguments and returns the exit code."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..classes.config import ClassesConfig, TeachConfig
from ..classes.escnet.config import EscTrainConfig
from ..classes.sam.config import SamTrainConfig
from ..clusters.config import ClusterConfig
from ..core.errors import InputError, OutputError
from ..entities.config import EntityConfig, TrainConfig
from .flags import Config, config_of
from .progress_bar import Bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .batch import Outcome
    from .tasks import Task


def entities(given: argparse.Namespace) -> int:
    """Segment a file or folder."""
    config = config_of(given, EntityConfig)
    _check_source(given.input)
    from .tasks import EntityTask

    outcome = _work(given, EntityTask(config, given.scheduler))
    _tell_entities(outcome)
    return _tell_failures(outcome)


def classes(given: argparse.Namespace) -> int:
    """Find classes by name in a file or folder."""
    config = config_of(given, ClassesConfig)
    _check_source(given.input)
    from .class_tasks import ClassTask

    task = ClassTask(
        config, given.names, given.vocabulary, given.examples, given.clip, given.scheduler
    )
    outcome = _work(given, task)
    _tell_classes(outcome, task.names)
    return _tell_failures(outcome)


def teach(given: argparse.Namespace) -> int:
    """Learn classes from examples, and write a vocabulary."""
    config = config_of(given, TeachConfig)
    from ..classes.vocabulary.examples import read_examples
    from ..classes.vocabulary.files import check_place
    from ..classes.vocabulary.teach import iter_teach_classes
    from ..core.events import finish
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
    print(f"{given.out}: {_classes(vocabulary.names)}, {seconds:.1f} s")
    for line in card(vocabulary):
        print(f"  {line}")
    return 0


def _work(given: argparse.Namespace, task: Task[Any]) -> Outcome:
    """Work on a file, or on every image of a folder."""
    from ..images.readers import is_image
    from . import batch

    source, out = given.input, given.out
    with Bar() as bar:
        if is_image(source):
            return batch.process_file(source, out, task, bar.report, given.overwrite)
        return batch.process_folder(source, out, task, bar.report, given.overwrite, given.resume)


def clusters(given: argparse.Namespace) -> int:
    """Cluster a movie."""
    from . import movies

    config = config_of(given, ClusterConfig)
    for path in filter(None, (given.input, given.model)):
        _check_there(path)
    with Bar() as bar:
        outcome = movies.cluster_file(
            given.input,
            given.out,
            config,
            bar.report,
            overwrite=given.overwrite,
            model=given.model,
            save_model=given.save_model,
            levels=given.levels,
            at_level=given.at_level,
            hide=given.hide,
            scheduler=given.scheduler,
        )
    print(
        f"{outcome.out}: {outcome.clusters} clusters in {outcome.frames} frames, {_time(outcome)}"
    )
    for path in outcome.more:
        print(f"  {path}")
    return 0


def demo(given: argparse.Namespace) -> int:
    """Segment a shipped movie."""
    import imageio.v3 as iio

    from ..images import samples
    from ..images.stack import ImageStack, read_image
    from ..results.atomic import check_folder, replacing
    from ..results.segmentation import load_segmentation
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
    _tell_entities(outcome)
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
    from ..entities.train import train

    print(f"Weights: {train(given.data, given.out, config)}")
    return 0


def train_sam(given: argparse.Namespace) -> int:
    """Train the promptable model."""
    config = _training(given, SamTrainConfig)
    from ..classes.sam.train import train_sam as train

    print(f"Weights: {train(given.data, given.out, config)}")
    return 0


def train_classes(given: argparse.Namespace) -> int:
    """Train ESC-Net."""
    config = _training(given, EscTrainConfig)
    from ..classes.escnet.train import train_escnet

    print(f"Weights: {train_escnet(given.data, given.out, config)}")
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


# -- checking and telling -----------------------------------------------------------------------


def _check_there(path: Path) -> None:
    if not path.exists():
        raise InputError(f"There is no {str(path)!r}; check the path.")


def _check_source(source: Path) -> None:
    from ..images.readers import is_image

    _check_there(source)
    if not is_image(source) and not source.is_dir():
        raise InputError(f"{source.name!r} is no image file; give a TIFF, PNG, JPEG or OME-Zarr.")


def _training(given: argparse.Namespace, config: type[Config]) -> Config:
    """Return the options of a training, its data folders having been looked for."""
    options = config_of(given, config)
    for folder in given.data:
        if not folder.is_dir():
            raise InputError(f"There is no folder {str(folder)!r}; check the path.")
    return options


def _tell(outcome: Outcome, what: str) -> None:
    """Tell what was found, where, and how long it took."""
    frames = f" in {outcome.frames} frames" if outcome.frames > outcome.done else ""
    images = f" in {outcome.done} images" if outcome.done > 1 else ""
    scale = outcome.provenance.get("scale_used")
    details = [
        _time(outcome),
        *([f"scale {scale:.3g}"] if isinstance(scale, int | float) and not images else []),
        *([f"{outcome.skipped} images were done before"] if outcome.skipped else []),
    ]
    print(f"{outcome.out}: {what}{frames}{images}, {', '.join(details)}")


def _tell_entities(outcome: Outcome) -> None:
    found, _ = outcome.object_counts.get("entities", (0, 0))
    _tell(outcome, f"{found} entities")


def _tell_classes(outcome: Outcome, names: Sequence[str]) -> None:
    _tell(outcome, _classes(names))
    # Regions that touch are one: how many there are says nothing of cells.
    whole = outcome.provenance.get("recipe", {}).get("kind") in ("entities", "sam")
    for name in names if outcome.done else ():
        count, area = outcome.object_counts.get(name, (0, 0))
        counted = f"{count} found, " if whole else ""
        print(f"  {name}: {counted}{area / max(outcome.pixels, 1):.1%} of the pixels")


def _classes(names: Sequence[str]) -> str:
    return f"{len(names)} class" + ("es" if len(names) > 1 else "")


def _tell_failures(outcome: Outcome) -> int:
    """Name the images of a folder that could not be used; returns the exit code."""
    for name, reason in outcome.failed.items():
        print(f"napari-kindred: {name}: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _time(outcome: Any) -> str:
    device = outcome.provenance.get("device")
    return f"{max(0.0, outcome.seconds):.1f} s" + (f" on {device}" if device else "")


def _view(source: Path, labels: Path) -> int:
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
