"""Images on servers: the address of an OME-Zarr in place of a path."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, KindredError, reason_of
from .zarr_images import Place, read_zarr

if TYPE_CHECKING:
    from .image_file import ImageFile

_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")

_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
"""What fsspec needs for each kind of address."""


def is_url(path: Any) -> bool:
    """Whether this is an address such as ``https://…`` and not a path."""
    return isinstance(path, str) and bool(_ADDRESS.match(path))


def open_url(url: str) -> ImageFile:
    """Open the OME-Zarr at an address.

    Raises
    ------
    InputError
        If a package is missing, if nothing answers, or if it is not an OME-Zarr.
    """
    scheme = url.split("://", 1)[0].lower()
    package = _PACKAGES.get(scheme)
    if package is None:
        known = ", ".join(f"{name}://" for name in ("https", "s3", "gs"))
        raise InputError(
            f"Addresses of the kind {scheme}:// cannot be read; give {known} or a file."
        )
    if find_spec("fsspec") is None or find_spec(package) is None:
        raise InputError(
            f"Reading {scheme}:// needs the package {package}; install it with "
            "pip install 'napari-kindred[remote]'."
        )
    try:
        found = read_zarr(_place_of(url))
    except KindredError:
        raise
    except Exception as error:
        raise InputError(
            f"{url!r} cannot be read as an OME-Zarr ({reason_of(error)}); check the address, and "
            "download the file if it is of another format."
        ) from error
    return replace(found, url=url)


def _place_of(url: str) -> Place:
    """Return the zarr and the path in it, split after the first part that ends in ``.zarr``."""
    head, end, inside = url.rstrip("/").partition(".zarr/")
    return Place(head + end.rstrip("/"), inside) if end else Place(url.rstrip("/"))
