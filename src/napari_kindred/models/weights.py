"""Where weights come from: one table of names, and files that are checked before use.

Nothing here unpickles anything.  Ours are safetensors; what others publish as PyTorch files is
read in ``checkpoints.py``, by PyTorch's loader that makes tensors and executes nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..core.errors import WeightsError
from ..core.settings import cache_dir
from .download import Wanted, download, file_sha256, reading

PYTORCH_SUFFIXES = (".pth", ".pt")
"""Endings of files written by ``torch.save``."""

_LARGEST_HEADER = 16 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file in the table."""

    source: str
    """File name in the folder ``weights_data`` next to this file, or URL."""
    sha256: str
    size: int
    """Bytes; 0 if the publisher does not state them."""
    licence: str
    """SPDX identifier, or words."""
    about: str

    @property
    def file_name(self) -> str:
        """Name of the file, without its folder."""
        return self.source.partition("?")[0].rsplit("/", 1)[-1]


WEIGHTS: dict[str, Weights] = {
    "kindred-entities": Weights(
        source="kindred-entities.safetensors",
        sha256="779687f49f4d02f94c09b63ddf64870d2568fb9e64df6f632aa5c88e5c4596d7",
        size=7382460,
        licence="BSD-3-Clause",
        about="cells, nuclei and bacteria in fluorescence, histology, brightfield and phase images",
    ),
    "kindred-sam": Weights(
        source="kindred-sam.safetensors",
        sha256="8930be5ffc28e310ca958e5ec9da7156a21cf67353fcacc3e6b51e429d15ad62",
        size=14789928,
        licence="BSD-3-Clause",
        about="a small Segment Anything for cells and nuclei, with a mask decoder",
    ),
    "sam_vit_b": Weights(
        source="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        size=375042383,
        licence="Apache-2.0",
        about="Segment Anything, base: any picture, with a mask decoder",
    ),
    "sam_vit_l": Weights(
        source="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        size=1249524607,
        licence="Apache-2.0",
        about="Segment Anything, large: any picture, with a mask decoder",
    ),
    "sam_vit_h": Weights(
        source="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        size=2564550879,
        licence="Apache-2.0",
        about="Segment Anything, huge: any picture, with a mask decoder",
    ),
    "micro_sam_vit_b_lm": Weights(
        source="https://zenodo.org/record/8250281/files/vit_b_lm.pth?download=1",
        sha256="5a59cc4064092d54cd4d92cd967e39168f3760905431e868e474d60fe5464ecd",
        size=0,
        licence="as stated at zenodo.org/record/8250281",
        about="Segment Anything for light microscopy, base, first release, with a mask decoder",
    ),
}
"""Every set of weights that has a name."""


def resolve(name_or_path: str | Path, *, pytorch: bool = False) -> Path:
    """Return the checked file for a name, a path or a ``file:`` URL.

    Parameters
    ----------
    name_or_path : str or Path
        A key of :data:`WEIGHTS`, or the path of a ``.safetensors`` file.
    pytorch : bool
        Whether a path may also be that of a ``.pth`` or ``.pt`` file, which is not checked.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not a safetensors file.
    """
    text = str(name_or_path)
    if text in WEIGHTS:
        return _resolve_known(text, WEIGHTS[text])
    path = there(text)
    if path is None:
        kinds = ".safetensors, .pth or .pt" if pytorch else ".safetensors"
        raise WeightsError(
            f"There are no weights {text!r}; give the path of a {kinds} file or one of the "
            f"names {', '.join(WEIGHTS)}."
        )
    if not (pytorch and path.suffix.lower() in PYTORCH_SUFFIXES):
        read_header(path)
    return path


def there(name: str | Path) -> Path | None:
    """Return the existing file at a path or ``file:`` URL; None if there is none."""
    text = str(name)
    try:
        path = Path(url2pathname(urlsplit(text).path)) if text.startswith("file:") else Path(text)
        path = path.expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, in nobody's home, or no text for a path
        return None


def read_header(path: Path) -> dict[str, Any]:
    """Read a safetensors file's header: its tensors, and texts under ``"__metadata__"``.

    The file is not trusted: the header's length is bounded, and the tensors must fill the rest of
    the file exactly.  WeightsError if it is truncated or not a safetensors file.
    """
    with reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= _LARGEST_HEADER:
            raise WeightsError(f"{path.name!r} is not a safetensors file; give one that is.")
        text = file.read(length)
    truncated = WeightsError(
        f"The weights file {str(path)!r} is damaged or cut short; get it again."
    )
    if len(text) < length:
        raise truncated
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        end = max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path.name!r} is not a safetensors file; give one that is.") from error
    if size != 8 + length + end:
        raise truncated
    return dict(header)


def place_of(name: str) -> Path:
    """Return where the file of a name in :data:`WEIGHTS` is, or would be, on this machine."""
    entry = WEIGHTS[name]
    folder = cache_dir() if "://" in entry.source else Path(__file__).parent / "weights_data"
    return folder / entry.file_name


def is_here(name: str) -> bool:
    """Whether the file of a name in :data:`WEIGHTS` is on this machine, by its size alone."""
    path, size = place_of(name), WEIGHTS[name].size
    return path.is_file() and path.stat().st_size == (size or path.stat().st_size)


def _resolve_known(name: str, entry: Weights) -> Path:
    remote = "://" in entry.source
    path = place_of(name)
    if remote and not path.is_file():
        download(Wanted(name, entry.source, entry.sha256, entry.size, path))
    if not path.is_file():
        raise WeightsError(
            f"The weights {name!r} are missing from {str(path.parent)!r}; install napari-kindred "
            "again."
        )
    if not is_here(name) or file_sha256(path) != entry.sha256:
        cure = "delete it and try again" if remote else "install napari-kindred again"
        raise WeightsError(f"The weights file {str(path)!r} is damaged or cut short; {cure}.")
    return path
