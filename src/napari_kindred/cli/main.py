"""The command line, ``napari-kindred COMMAND``: its commands and their flags."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..classes.config import TeachConfig
from ..classes.escnet.config import EscTrainConfig
from ..classes.sam.config import SamTrainConfig
from ..core.errors import KindredError, as_sentence, says_no_memory
from ..entities.config import TrainConfig
from ..images.readers import source_of_text
from ..linking.config import LinkConfig
from ..methods import METHODS
from ..results.exports import FORMATS
from . import commands as run
from .flags import add_flags
from .learn import add_learn
from .progress_bar import terminate_like_interrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows knows few letters
            stream.reconfigure(errors="backslashreplace")
    given = make_parser().parse_args(argv)
    try:
        with terminate_like_interrupt():
            code = int(given.command(given))
            sys.stdout.flush()
            return code
    except KindredError as error:
        print(f"napari-kindred: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who reads along, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told in one sentence
        if _is_of_a_cancel(error):  # a second Ctrl-C, while the first one's work was written
            return _cancelled()
        kindred = as_sentence(
            error,
            "choose a smaller --memory, or another --device",
            "the lines above tell where; please report it",
        )
        if not says_no_memory(error):
            traceback.print_exc()
        print(f"napari-kindred: {kindred}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _cancelled()


def _cancelled() -> int:
    """Say that a command was cancelled; returns the exit code."""
    print("napari-kindred: cancelled; what was done is kept.", file=sys.stderr)
    return CANCELLED


def _is_of_a_cancel(error: BaseException | None) -> bool:
    """Return whether an exception was raised while a cancel went on its way."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="napari-kindred",
        description="Which pixels are of a kind? Every cell or nucleus its own label, offline.",
    )
    parser.add_argument("--version", action="version", version=f"napari-kindred {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
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
    command.set_defaults(command=run.demo)


def _add_methods(commands: Any) -> None:
    for method in METHODS.values():
        module = method.command
        command = commands.add_parser(
            method.name,
            help=module.ABOUT,
            description=f"{module.ABOUT[0].upper()}{module.ABOUT[1:]}. {module.MORE}",
        )
        command.add_argument(
            "input",
            type=source_of_text,
            help="image file, OME-Zarr (also its address), or folder of images",
        )
        command.add_argument(
            "--out",
            type=Path,
            required=True,
            help="NAME.ome.zarr, NAME.tif (with NAME.csv and NAME.json), or a folder",
        )
        command.add_argument("--overwrite", action="store_true", help="replace existing results")
        command.add_argument(
            "--scheduler",
            metavar="WHERE",
            help="work on a Dask cluster: its address, tcp://HOST:PORT, or its scheduler file; or "
            "in 'threads' of this process",
        )
        if not method.folder_is_movie:
            command.add_argument(
                "--resume", action="store_true", help="of a folder, leave out images already done"
            )
        module.add_arguments(command)
        add_flags(command, method.config)
        command.set_defaults(command=module.run)


def _add_teach(commands: Any) -> None:
    command = commands.add_parser(
        "teach",
        help="learn classes from examples, once for many images",
        description="Learn classes from examples and write them down as a vocabulary, which "
        "'classes --vocabulary' takes. Examples are a folder of images per class, or images with "
        "an index.csv, points.csv or boxes.csv, or images/ and labels/ with a classes.csv.",
    )
    command.add_argument("examples", type=Path, help="folder of examples")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="for the vocabulary, NAME.kindred"
    )
    command.add_argument("--overwrite", action="store_true", help="replace one that is there")
    add_flags(command, TeachConfig)
    command.set_defaults(command=run.teach)


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a network on your own annotations")
    kinds = train.add_subparsers(required=True, metavar="KIND")
    for name, about, config, function in (
        (
            "entities",
            "the network that gives every cell or nucleus its own label",
            TrainConfig,
            run.train_entities,
        ),
        (
            "sam",
            "a small promptable model: a point or a box, a mask",
            SamTrainConfig,
            run.train_sam,
        ),
        (
            "classes",
            "ESC-Net: a name, its pixels; labels are classes, named in a classes.csv",
            EscTrainConfig,
            run.train_classes,
        ),
    ):
        command = kinds.add_parser(
            name,
            help=about,
            description="Train on folders of images/ and labels/ of the same names, with an "
            "optional index.csv that has a 'split' (train or val). The same command resumes a run.",
        )
        command.add_argument("data", type=Path, nargs="+", help="data folders")
        command.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="for the weights"
        )
        add_flags(command, config)
        command.set_defaults(command=function)


def _add_rerun(commands: Any) -> None:
    command = commands.add_parser(
        "rerun",
        help="compute a result again, or the same of another image",
        description="Compute a result again as it says it came about: the same method, options and "
        "weights.",
    )
    command.add_argument("result", type=Path, help="a result, or a folder of them")
    command.add_argument(
        "image", type=source_of_text, nargs="?", help="another image, or where the same one is now"
    )
    command.add_argument("--out", type=Path, help="as for the method [next to RESULT]")
    command.add_argument("--overwrite", action="store_true", help="replace existing results")
    command.set_defaults(command=_rerun)


def _add_link(commands: Any) -> None:
    command = commands.add_parser(
        "link",
        help="give the same object the same label in every frame of a movie of labels",
        description="Link labels from anywhere over time: drift of the whole field, gaps and "
        "divisions are followed. The table has a row per object and frame, with its track and the "
        "track that it divided from.",
    )
    command.add_argument("labels", type=Path, help="a result, a label image, or a folder of them")
    command.add_argument(
        "--out", type=Path, required=True, help="NAME.ome.zarr, or NAME.tif (with NAME.csv)"
    )
    command.add_argument("--image", type=Path, help="the image, for mean intensities in the table")
    command.add_argument("--overwrite", action="store_true", help="replace existing results")
    add_flags(command, LinkConfig)
    command.set_defaults(command=_link)


def _link(given: argparse.Namespace) -> int:
    """Link labels over time."""
    from .link import run

    return run(given)


def _add_export(commands: Any) -> None:
    command = commands.add_parser(
        "export",
        help="write results as files of Fiji, QuPath and training programs, or as measurements",
        description="Write a result, or all results of a folder, for another program: "
        + "; ".join(f"{entry.name}, {entry.about} ({entry.suffix})" for entry in FORMATS.values())
        + ".",
    )
    command.add_argument("result", type=Path, help="a result, or a folder of them")
    command.add_argument("--to", choices=tuple(FORMATS), help="the format [by the end of --out]")
    command.add_argument("--out", type=Path, required=True, help="a file, or a folder of them")
    command.add_argument(
        "--image", type=Path, help="the image, for intensities in csv [where it was]"
    )
    command.add_argument(
        "--properties",
        metavar="NAME,NAME,…",
        help="what csv measures, by the names of scikit-image's regionprops",
    )
    command.add_argument("--overwrite", action="store_true", help="replace existing files")
    command.set_defaults(command=_export)


def _export(given: argparse.Namespace) -> int:
    """Write results for other programs."""
    from .export import run

    return run(given)


def _add_export_model(commands: Any) -> None:
    command = commands.add_parser(
        "export-model",
        help="write the network of entities for other programs: BioImage Model Zoo, ONNX",
        description="Write weights of entities as a package of the BioImage Model Zoo (.zip), with "
        "test tensors, or as an ONNX network (.onnx); with decode.py, which turns the network's "
        "maps into labels with NumPy alone.",
    )
    command.add_argument("--out", type=Path, required=True, help="NAME.zip or NAME.onnx")
    command.add_argument(
        "--weights", default="kindred-entities", help="name, or path of a file [kindred-entities]"
    )
    command.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    command.set_defaults(command=_export_model)


def _export_model(given: argparse.Namespace) -> int:
    """Write the network of entities."""
    from ..entities.model_package import export_model

    print(export_model(given.out, given.weights, given.overwrite))
    return 0


def _rerun(given: argparse.Namespace) -> int:
    """Compute a result once more."""
    from .rerun import rerun

    return rerun(given, make_parser())


def _add_info(commands: Any) -> None:
    command = commands.add_parser("info", help="versions, device, weights; or how a result arose")
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="a result, to print its provenance; or a vocabulary or weights, for what they know",
    )
    what.add_argument(
        "--clear-cache",
        action="store_true",
        help="delete what was kept of images for the next run; weights stay",
    )
    command.set_defaults(command=run.info)


COMMANDS = (
    _add_demo,
    _add_methods,
    _add_teach,
    add_learn,
    _add_train,
    _add_link,
    _add_rerun,
    _add_export,
    _add_export_model,
    _add_info,
)
"""In the order of the help."""
