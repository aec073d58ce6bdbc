"""Specs: weights by name and hash, which provenance stores, caches key on and workers receive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..core.errors import WeightsError

if TYPE_CHECKING:
    import torch

Opened = TypeVar("Opened", covariant=True)


class Spec(ABC, Generic[Opened]):
    """Weights and the options that matter for their results; subclasses are frozen dataclasses."""

    sha256: str
    """Hash of the weights, hexadecimal digits."""

    @abstractmethod
    def open(self, device: str | torch.device = "auto") -> Opened:
        """Load the weights onto a device; WeightsError if they are missing or have another hash."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


def spec_of(thing: Any) -> Any:
    """Return the spec of an opened object, or a spec as it is."""
    return thing if isinstance(thing, Spec) else thing.spec


def check_hash(name: str, found: str, wanted: str) -> None:
    """Raise WeightsError if the weights found under a name have another hash than those wanted."""
    if found != wanted:
        raise WeightsError(
            f"The weights {name!r} have the sha256 {found[:12]} here, but {wanted[:12]} is needed; "
            "put the same file everywhere, or give its path."
        )


def absolute(name: str) -> str:
    """Return the absolute path of a weights file; another name as it is."""
    return str(Path(name).absolute()) if Path(name).is_file() else name
