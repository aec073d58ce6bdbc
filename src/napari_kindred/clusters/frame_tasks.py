"""The task of a movie's first pass: one frame, its features cached or computed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ..compute.device import select
from ..compute.tasks import absolute, check_same
from ..core.errors import InputError
from ..core.events import Notice, Progress
from ..encoders.registry import open_encoder
from ..images.stack import normalise_to
from ..models.feature_cache import content_of
from .frame_features import Encoding, FeatureLookup, FrameFeatures, encode_frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..encoders.base import Encoder
    from ..images.stack import ImageStack
    from ..models.feature_cache import FeatureCache
    from .kmeans import Basis


@dataclass(frozen=True)
class TaskContext:
    """What the tasks of a run have in common.

    Attributes
    ----------
    encoder : Encoder
    lookup : FeatureLookup
    how : Encoding
    frames : ImageStack or None
        The movie, where tasks read it themselves.
    range : tuple of two floats
        Intensities that become 0 and 1.
    """

    encoder: Encoder
    lookup: FeatureLookup
    how: Encoding
    frames: ImageStack | None
    range: tuple[float, float]


def opener_of(context: TaskContext, cache: FeatureCache) -> Callable[[], TaskContext]:
    """Return what opens a kit in another process, with the same weights."""
    how = replace(context.how, encoder=absolute(context.how.encoder))
    return partial(_open, how, context.encoder.sha256, cache, context.frames, context.range)


def _open(
    how: Encoding,
    sha256: str,
    cache: FeatureCache,
    frames: ImageStack | None,
    span: tuple[float, float],
) -> TaskContext:
    encoder = open_encoder(how.encoder, stride=how.stride, device=select(how.device))
    check_same(how.encoder, encoder.sha256, sha256)
    return TaskContext(encoder, FeatureLookup(cache, encoder, how), how, frames, span)


def iter_features(
    context: TaskContext,
    index: tuple[int, ...],
    pixels: NDArray[np.float32] | None,
    basis: Basis | None,
    sampled: bool,
) -> Generator[Progress | Notice, None, tuple[FrameFeatures, bool]]:
    """Return the features of a frame, and whether an earlier run had cached them.

    Parameters
    ----------
    context : TaskContext
    index : tuple of int
        Of the frame.
    pixels : ndarray of float32, (H, W, C), or None
        The normalised frame, where it is not read here.
    basis, looked
        As in :func:`.frame_features.encode_frame`.
    """
    if pixels is None:
        if context.frames is None:
            raise InputError("A frame came without its pixels; give the movie itself.")
        pixels = normalise_to(context.frames.read(index).pixels, *context.range)
    content = content_of(pixels)
    features = context.lookup.get(content, basis, sampled)
    if features is not None:
        return features, True
    job, as_asked = encode_frame(context.encoder, pixels, context.how, basis, sampled), True
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            features = replace(stop.value, as_asked=as_asked)
            break
        as_asked = as_asked and not isinstance(event, Notice)
        yield event
    context.lookup.put(content, basis, sampled, features)
    return features, False
