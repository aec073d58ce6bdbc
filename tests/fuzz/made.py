"""Images, results and options of every kind, made for tests that ask what cannot be foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import dask.array as da
import numpy as np
import zarr
from hypothesis import settings
from hypothesis import strategies as st

from napari_kindred.core.errors import KindredError

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")

NUMBERS = ("bool", "u1", "i2", "u2", ">u2", "i4", ">i4", "u4", "i8", "u8", "f2", "f4", ">f4", "f8",
           ">f8", "longdouble")  # fmt: skip
OTHERS = ("c8", "c16", "O", "S3", "U2", "M8[s]", "m8[s]", "V4", "u1,f4")
CONTAINERS = ("plain", "fortran", "backwards", "locked", "list", "dask", "unknown chunks", "zarr",
              "masked", "partly masked")  # fmt: skip
VALUES = ("noise", "constant", "extreme", "nan", "some nan", "infinite", "things", "offset")


def cases(share: float) -> Any:
    """Draw so many times as many cases as others do."""
    return settings(max_examples=max(2, round(share * settings.default.max_examples)))


def of_interest(call: Callable[[], Made]) -> Made | None:
    """Return what a call gives, None where it refuses; its words must be one sentence."""
    try:
        return call()
    except KindredError as error:
        words = str(error)
    assert words.strip()
    assert "\n" not in words
    return None


@dataclass(frozen=True)
class Recipe:
    """How to make an image; small enough to be written down as an example.

    Attributes
    ----------
    shape : tuple of int
    axes : str or None
        What is said of them.
    dtype, container, values : str
        Of the lists above.
    seed : int
    """

    shape: tuple[int, ...]
    axes: str | None = None
    dtype: str = "u1"
    container: str = "plain"
    values: str = "noise"
    seed: int = 0

    def array(self) -> np.ndarray:
        """Return the values as numpy has them."""
        dtype = np.dtype(self.dtype)
        random = np.random.default_rng(self.seed)
        if dtype.kind not in "buif":
            return np.zeros(self.shape, dtype)
        noise = random.random(self.shape)
        if self.values == "things" and len(self.shape) > 1:
            noise = 0.2 * noise
            noise[..., 2:14, 2:14] += 0.7
        if self.values == "constant":
            noise = np.full(self.shape, 0.5)
        if self.values == "offset":
            noise = noise / 200 + 0.99
        if dtype.kind == "f":
            return self._floats(noise, dtype, random)
        if dtype.kind == "b":
            return noise > 0.5
        limits = np.iinfo(dtype)
        if self.values == "extreme":
            return np.where(noise > 0.5, limits.max, limits.min).astype(dtype)
        return (noise * 200).astype(dtype)

    def _floats(self, noise: np.ndarray, dtype: Any, random: np.random.Generator) -> np.ndarray:
        values = noise.astype(dtype)
        odd = random.random(self.shape) < 0.3
        if self.values == "extreme":
            limits = np.finfo(dtype)
            values = np.where(odd, limits.max, limits.min).astype(dtype)
        elif self.values in ("nan", "some nan"):
            values[odd | (self.values == "nan")] = np.nan
        elif self.values == "infinite":
            values[odd] = np.inf
            values[odd & (noise > 0.5)] = -np.inf
        elif self.values == "offset":
            values = (values * 1e9).astype(dtype) if dtype.itemsize > 4 else values
        return values

    def image(self) -> Any:
        """Return the image in its container."""
        array = self.array()
        if self.container == "fortran":
            return np.asfortranarray(array)
        if self.container == "backwards":
            return array[..., ::-1]
        if self.container == "locked":
            array.flags.writeable = False
        elif self.container == "list":
            return array.tolist()
        elif self.container == "dask":
            chunks = tuple(max(1, (size + self.seed % 3) // 2) for size in array.shape)
            return da.from_array(array, chunks=chunks)
        elif self.container == "unknown chunks":
            flat = da.from_array(array.reshape(-1), chunks=7)
            return flat[flat == flat]
        elif self.container == "zarr" and array.size and self.dtype in NUMBERS[:-1]:
            chunks = tuple(max(1, size // 2) for size in array.shape)
            return zarr.create_array({}, data=array, chunks=chunks)
        elif self.container in ("masked", "partly masked"):
            return np.ma.masked_array(array, np.indices(array.shape).sum(0) % 5 == 0) if (
                self.container == "partly masked"
            ) else np.ma.masked_array(array)  # fmt: skip
        return array


SIZES = {"T": (0, 3), "Z": (1, 3), "C": (1, 3), "Y": (0, 40), "X": (0, 40), "S": (2, 4)}
GOOD_AXES = ("YX", "TYX", "CYX", "ZYX", "TCYX", "TZYX", "YXS", "TYXS", "YXC", "YCX")


@st.composite
def recipes(draw: Any, sound: float = 0.7) -> Recipe:
    """Draw how to make an image; so large a share of them is one that can be used."""
    is_sound = draw(st.floats(0, 1)) < sound
    axes = draw(st.sampled_from(GOOD_AXES))
    low = 2 if is_sound else 0
    shape = []
    for letter in axes:
        least, most = SIZES[letter]
        if is_sound:
            least = 3 if letter == "S" else max(least, 1 if letter in "TZC" else low)
        shape.append(draw(st.integers(least, most)))
    odd = st.one_of(st.text("TCZYXSQ tyx?", max_size=6), st.text(max_size=3))
    said = axes if is_sound else draw(st.one_of(st.none(), st.just(axes), odd))
    kinds = NUMBERS if is_sound else NUMBERS + OTHERS
    containers = [
        c for c in CONTAINERS if not (is_sound and c in ("unknown chunks", "partly masked"))
    ]
    return Recipe(
        tuple(shape), said, draw(st.sampled_from(kinds)), draw(st.sampled_from(containers)),
        draw(st.sampled_from(VALUES)), draw(st.integers(0, 5)),
    )  # fmt: skip


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 20),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=8),
    st.sampled_from(["auto", "none", "cpu", "edges", "kindred", "tiles", "TYX"]),
    st.sampled_from([np.int64(3), np.float32(0.5), np.True_, np.str_("cpu"), 10**400, b"cpu"]),
    st.lists(st.integers(), max_size=3),
    st.builds(np.arange, st.integers(0, 5)),
    st.complex_numbers(max_magnitude=9),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
"""What somebody may put where an option belongs."""
