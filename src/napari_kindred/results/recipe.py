"""How a result came about (method, input, options), as Python and as a command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, OptionError, OutputError
from ..core.options import changed, flag_of, visible
from ..images.readers import is_image, stem_of
from ..methods import method_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..methods import Method

PROGRAM = "napari-kindred"

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileInput:
    """The file or folder of an image, and how it is read.

    Attributes
    ----------
    path : str
    axes : str or None
        Of the file, as the option of this name.
    channel : int, str or None
        As the option of this name.
    """

    path: str
    axes: str | None = None
    channel: int | str | None = None


@dataclass(frozen=True)
class Recipe:
    """What computes a result again.

    Attributes
    ----------
    method : Method
    config : dataclass
        The options; axes and channel are those of the layer, if there is one.
    layer : str
        Name of the image layer; empty if the image was read from a file.
    file : FileInput or None
        The file that holds the image.
    fault : str
        Why no file holds it, one sentence.
    arguments : mapping
        Further arguments of the method's function, as plain data.
    provenance : mapping
        Of the result, with what was done to it afterwards.
    """

    method: Method
    config: Any
    layer: str = ""
    file: FileInput | None = None
    fault: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_python(self) -> str:
        """Return the Python code, for napari's console if the image is a layer."""
        lines = ["import napari_kindred as nk"]
        last = "labels = result.labels"
        reader = self._reader()
        if reader:
            lines.append(f"from napari_kindred.images.{reader[0]} import {reader[1]}")
        elif self._numbers_frames():
            lines.append("from napari_kindred.results.label_ids import unique_ids")
            last = (
                "labels = unique_ids(result).labels  "
                "# ids count on from frame to frame, as in the layer"
            )
        lines += ["", *self.call(), *(f"result = result.{step}" for step in self.steps()), last]
        return "\n".join(lines) + "\n"

    def _numbers_frames(self) -> bool:
        """Whether ids are those of frames, of which there are several."""
        axes = set(self.config.axes or "") & set("TZ")
        linked = axes == {"T"} and getattr(self.config, "link", "off") != "off"
        return self.method.ids == "frame" and bool(axes) and not linked

    def to_command(self) -> str:
        """Return the commands as they are typed into a shell, one a line.

        Raises
        ------
        KindredError
            If no command can do it, with what to do instead.
        """
        return "\n".join(quoted(words) for words in self.commands())

    def commands(self, image: str | Path | None = None, out: Path | None = None) -> list[Words]:
        """Return the commands, program first, to be run one after the other.

        Parameters
        ----------
        image : str or Path, optional
            Another image, read by the same options.
        out : Path, optional
            For the result, in the current folder if left out.

        Raises
        ------
        KindredError
            If no command can do it, with what to do instead.
        """
        fault = self.fault_in_command()
        if fault:
            raise OptionError(fault)
        file = self.file if image is None else FileInput(str(image), *self._axes_and_channel())
        if file is None:
            raise InputError(self.fault or "The result does not say which file its image is in.")
        path = file.path
        stem = stem_of(path) if is_image(path) else Path(path).name
        target = str(out or f"{stem} {self.method.suffix}.ome.zarr")
        config = replace(self.config, axes=file.axes, channel=file.channel)
        words = (PROGRAM, self.method.name, file.path, "--out", target)
        return [(*words, *self.words(), *flags(config), *self.words_of_steps())]

    def call(self) -> list[str]:
        """Return the lines of Python that make ``result``."""
        reader = self._reader()
        if reader and self.file is not None:
            config = replace(self.config, axes=self.file.axes, channel=self.file.channel)
            image = f"{reader[1]}({self.file.path!r})"
        else:
            config, image = self.config, f"viewer.layers[{self.layer!r}].data"
        return [
            *self.preparation(),
            f"image = {image}",
            f"result = nk.{self.method.function}(",
            "    image,",
            *(f"    {name}={value!r}," for name, value in changed(config).items()),
            *(f"    {name}={code}," for name, code in self.code().items()),
            ")",
        ]

    def _reader(self) -> tuple[str, str] | None:
        """Return module and name of what reads the image; None if it is a layer."""
        if self.layer or self.file is None:
            return None
        whole = is_image(self.file.path)
        return ("readers", "read_image") if whole else ("image_folder", "read_folder")

    def _axes_and_channel(self) -> tuple[str | None, int | str | None]:
        asked = self.config if self.file is None else self.file
        return asked.axes, asked.channel

    # -- what a method adds ------------------------------------------------------------------

    def preparation(self) -> list[str]:
        """Return lines of Python that make what :meth:`code` names."""
        return []

    def code(self) -> dict[str, str]:
        """Return further arguments of the function, as code."""
        return {name: repr(value) for name, value in self.arguments.items()}

    def words(self) -> list[str]:
        """Return further arguments of the command."""
        return []

    def steps(self) -> list[str]:
        """Return what was done to the result afterwards, as calls of its methods."""
        return []

    def words_of_steps(self) -> list[str]:
        """Return the same as arguments of the command."""
        return []

    def fault_in_command(self) -> str:
        """Return why no command can do this, one sentence, if so."""
        return ""


def recipe_of(provenance: Mapping[str, Any]) -> Recipe:
    """Return how a result came about.

    Raises
    ------
    OutputError
        If its provenance does not say so, as of labels of another origin.
    """
    method = method_of(provenance)
    if method is None:
        raise OutputError("These labels were not computed here, so nothing can compute them again.")
    try:
        config = method.config(**provenance["config"])
        file = provenance.get("file")
        recipe: Recipe = method.recipe(
            method,
            config,
            # Only a command names the image; the layer of its result need not be open.
            "" if "image" in provenance else str(provenance.get("source_layer", "")),
            None if file is None else FileInput(**file),
            str(provenance.get("no_file", "")),
            dict(provenance.get("arguments") or {}),
            provenance,
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise OutputError(
            "The result does not say completely how it came about; run the method anew."
        ) from error
    return recipe


ORIGIN = ("method", "config", "source_layer", "image", "file", "no_file", "arguments")
"""Entries of a provenance from which its result can be made again, before any later change."""


def origin_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a provenance says of how its result came about, without later changes."""
    return {name: provenance[name] for name in ORIGIN if name in provenance}


def flags(config: Any) -> list[str]:
    """Return the flags that make a config again; fields at their defaults are left out."""
    words: list[str] = []
    names = {item.name for item in visible(config)}
    for name, value in changed(config).items():
        if name not in names:
            continue
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif str(value).startswith("-"):  # by itself it would pass for a flag
            words.append(f"{flag}={value}")
        else:
            words += [flag, str(value)]
    return words


def quoted(words: Sequence[str], *, windows: bool = sys.platform == "win32") -> str:
    """Return a command as it is typed into a shell: of Windows, or a POSIX one."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)
