"""The command line: ``napari-kindred demo | entities | consistent | train | info``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .config import ConsistentConfig, EntityConfig
from .errors import InputError, KindredError, OutputError
from .flags import add_flags, config_of
from .terminal import Bar, terminate_like_interrupt
from .train_configs import SamTrainConfig, TrainConfig

CANCELLED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process when left out.

    Returns
    -------
    int
        0 done; 1 something is wrong, said in one sentence on stderr; 2 wrong usage; 130 cancelled,
        what was done being kept.
    """
    given = make_parser().parse_args(argv)
    try:
        with terminate_like_interrupt():
            return int(given.command(given))
    except KindredError as error:
        print(f"napari-kindred: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("napari-kindred: cancelled; what was done is kept.", file=sys.stderr)
        return CANCELLED


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="napari-kindred",
        description="Which pixels are of a kind? Every cell or nucleus its own label, offline.",
    )
    parser.add_argument("--version", action="version", version=f"napari-kindred {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_demo, _add_entities, _add_consistent, _add_train, _add_info):
        add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    command = commands.add_parser(
        "demo",
        help="segment a shipped movie; needs no network and no display",
        description="Segment a shipped movie; write labels, table, provenance and a picture.",
    )
    command.add_argument(
        "--sample", default="nuclei", choices=("nuclei", "phase"), help="which movie [nuclei]"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="a new folder [napari-kindred-demo, numbered when it is there]",
    )
    command.add_argument("--view", action="store_true", help="open the result in napari")
    command.set_defaults(command=demo)


def _add_entities(commands: Any) -> None:
    command = commands.add_parser(
        "entities",
        help="give every cell or nucleus its own label",
        description="Give every cell or nucleus its own label. A stack is segmented frame by "
        "frame; of a folder, every image is taken by itself.",
    )
    command.add_argument("input", type=Path, help="image file, OME-Zarr, or folder of images")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        help="NAME.ome.zarr, NAME.tif (with NAME.csv and NAME.json), or a folder for a folder",
    )
    command.add_argument("--overwrite", action="store_true", help="replace results that are there")
    command.add_argument(
        "--resume", action="store_true", help="of a folder, leave out images already done"
    )
    add_flags(command, EntityConfig)
    command.set_defaults(command=entities)


def _add_consistent(commands: Any) -> None:
    command = commands.add_parser(
        "consistent",
        help="give the same kind of thing the same label in every frame of a movie",
        description="Give the same kind of thing the same label in every frame of a movie. A "
        "folder is one movie, its images taken in the order of their names.",
    )
    command.add_argument("input", type=Path, help="image file, OME-Zarr, or folder of frames")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        help="NAME.ome.zarr, NAME.tif (with NAME.csv and NAME.json), or a folder",
    )
    command.add_argument("--overwrite", action="store_true", help="replace results that are there")
    command.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="label the frames by this saved model instead of clustering them",
    )
    command.add_argument(
        "--save-model", type=Path, metavar="FILE", help="save the model, NAME.safetensors"
    )
    command.add_argument(
        "--levels",
        type=_numbers,
        default=(),
        metavar="N,N,…",
        help="write labels at these numbers of clusters as well, NAME.levelN",
    )
    add_flags(command, ConsistentConfig)
    command.set_defaults(command=consistent)


def _numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be whole numbers separated by commas, for example 2,6."
        ) from None


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a network on your own annotations")
    kinds = train.add_subparsers(required=True, metavar="KIND")
    for name, about, config, run in (
        (
            "entities",
            "the network that gives every cell or nucleus its own label",
            TrainConfig,
            train_entities,
        ),
        ("sam", "a small promptable model: a point or a box, a mask", SamTrainConfig, train_sam),
    ):
        command = kinds.add_parser(
            name,
            help=about,
            description="Train on folders of images/ and labels/ of the same names, with an "
            "optional index.csv that has a 'split' (train or val). Run it again to go on with it.",
        )
        command.add_argument("data", type=Path, nargs="+", help="data folders")
        command.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="for the weights"
        )
        add_flags(command, config)
        command.set_defaults(command=run)


def _add_info(commands: Any) -> None:
    command = commands.add_parser("info", help="versions, device, weights; or how a result arose")
    command.add_argument("file", type=Path, nargs="?", help="a result, to print its provenance")
    command.set_defaults(command=info)


# -- commands ---------------------------------------------------------------------------------


def entities(given: argparse.Namespace) -> int:
    """Segment a file or folder."""
    from . import batch
    from .files import is_image

    config = config_of(given, EntityConfig)
    source, out = given.input, given.out
    if not source.exists():
        raise InputError(f"There is no {str(source)!r}; check the path.")
    if is_image(source):
        with Bar() as bar:
            outcome = batch.segment_file(source, out, config, bar.report, given.overwrite)
    elif source.is_dir():
        with Bar() as bar:
            outcome = batch.segment_folder(
                source, out, config, bar.report_image, given.overwrite, given.resume
            )
    else:
        raise InputError(f"{source.name!r} is no image file; give a TIFF, PNG, JPEG or OME-Zarr.")
    _tell(outcome)
    for name, reason in outcome.failed.items():
        print(f"napari-kindred: {name}: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


def consistent(given: argparse.Namespace) -> int:
    """Cluster a movie."""
    from . import movies

    config = config_of(given, ConsistentConfig)
    for path in filter(None, (given.input, given.model)):
        if not path.exists():
            raise InputError(f"There is no {str(path)!r}; check the path.")
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
        )
    device = outcome.provenance.get("device")
    where = f" on {device}" if device else ""
    print(
        f"{outcome.out}: {outcome.clusters} clusters in {outcome.frames} frames, "
        f"{outcome.seconds:.1f} s{where}"
    )
    for path in outcome.more:
        print(f"  {path}")
    return 0


def demo(given: argparse.Namespace) -> int:
    """Segment a shipped movie."""
    import imageio.v3 as iio

    from . import batch, samples
    from .images import Frames, read_image
    from .overview import draw_overview
    from .results import load_segmentation
    from .storage import check_folder, replacing

    out = given.out or _free_name(Path("napari-kindred-demo"))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is there already; choose another name, or delete it.")
    check_folder(out)
    source = samples.sample_path(given.sample)
    with Bar() as bar:
        outcome = batch.segment_file(source, out / "labels.tif", EntityConfig(), bar.report)
    image = read_image(source)
    frames = Frames.open(image.data, metadata_axes=image.axes)
    with replacing(out / "overview.png") as part:
        iio.imwrite(part, draw_overview(frames, load_segmentation(outcome.out).labels))
    _tell(outcome)
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
    config = config_of(given, TrainConfig)
    _check_folders(given.data)
    from .entities.train import train

    best = train(given.data, given.out, config)
    print(f"Weights: {best}")
    return 0


def train_sam(given: argparse.Namespace) -> int:
    """Train the promptable model."""
    config = config_of(given, SamTrainConfig)
    _check_folders(given.data)
    from .classes.train_sam import train_sam as train

    best = train(given.data, given.out, config)
    print(f"Weights: {best}")
    return 0


def _check_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no folder {str(folder)!r}; check the path.")


def info(given: argparse.Namespace) -> int:
    """Print what is installed, or how a result came about."""
    if given.file is not None:
        return _print_provenance(given.file)
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from .device import describe
    from .encoders.registry import list_encoders
    from .weights import WEIGHTS, cache_dir, file_sha256, resolve

    print(f"napari-kindred {__version__}, Python {platform.python_version()}, {sys.platform}")
    for name in ("numpy", "torch", "timm", "zarr", "napari"):
        try:
            print(f"  {name} {version(name)}")
        except PackageNotFoundError:
            print(f"  {name} is not installed")
    print(f"device: {describe()}")
    print("weights:")
    encoders = list_encoders()
    for name, entry in WEIGHTS.items():
        if name in {encoder.name for encoder in encoders}:
            continue
        try:
            path = resolve(name) if "://" not in entry.source else cache_dir() / entry.file_name
            state = f"sha256 {file_sha256(path)}" if path.exists() else "not downloaded yet"
        except KindredError as error:
            state = str(error)
        print(f"  {name}: {entry.about} ({entry.licence}); {state}")
    print("encoders:")
    for encoder in encoders:
        size = f"{encoder.size / 1e6:.0f} MB " if encoder.size else ""
        place = "on this machine" if encoder.here else f"{size}to download when first used"
        print(f"  {encoder.name}: {encoder.about}; licence {encoder.licence}; {place}")
    print(f"cache: {cache_dir()}")
    return 0


def _print_provenance(path: Path) -> int:
    import json

    from .results import load_segmentation

    if path.suffix == ".json":
        try:
            print(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{str(path)!r} cannot be read; check the path.") from error
        return 0
    facts = load_segmentation(path).provenance
    print(json.dumps(facts, indent=2, ensure_ascii=False))
    return 0


# -- telling ----------------------------------------------------------------------------------


def _tell(outcome: Any) -> None:
    facts = outcome.provenance
    frames = f" in {outcome.frames} frames" if outcome.frames > outcome.done else ""
    images = f" in {outcome.done} images" if outcome.done > 1 else ""
    scale = facts.get("scale_used")
    details = [
        f"{outcome.seconds:.1f} s",
        *([f"on {facts['device']}"] if facts.get("device") else []),
        *([f"scale {scale:.3g}"] if isinstance(scale, int | float) and not images else []),
        *([f"{outcome.skipped} images were done before"] if outcome.skipped else []),
    ]
    print(f"{outcome.out}: {outcome.entities} entities{frames}{images}, {', '.join(details)}")


def _view(source: Path, labels: Path) -> int:
    """Open napari in a process of its own, so that the command line itself never needs it."""
    command = [sys.executable, "-m", "napari_kindred._napari.view", str(source), str(labels)]
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


if __name__ == "__main__":
    sys.exit(main())
