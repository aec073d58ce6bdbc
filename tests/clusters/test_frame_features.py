"""What was encoded once is not encoded again, and nobody can tell from the labels."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_kindred.clusters import pipeline
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.clusters.frame_features import Encoding, encode_frame
from napari_kindred.clusters.kmeans import fit_basis
from napari_kindred.clusters.predict import cluster_stack, iter_cluster_stack
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.encoders.encode import iter_encode
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable

SIX: dict[str, Any] = {"axes": "TYX", "n_clusters": 6}


def same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.leaves, other.leaves)
    np.testing.assert_array_equal(one.model.prototypes_, other.model.prototypes_)


@pytest.fixture
def no_cache() -> FeatureCache:
    return FeatureCache(limit=0)


@pytest.fixture
def noisy(draw: Callable[..., Any]) -> np.ndarray:
    """Frames whose labels would show a change in the last bits of a token."""
    pixels: np.ndarray = draw(frames=10, size=(96, 128), noise=60).pixels
    return pixels


# -- a second run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_clusters": 4, "background": "largest"},
        {"refinement": "none", "objects": False},
        {"batch_size": 3, "seed": 7},
        {"reassign": False},
    ],
)
def test_a_second_run_encodes_nothing_whatever_the_clustering(
    by_grey: Any, noisy: np.ndarray, no_cache: FeatureCache, options: dict[str, Any]
) -> None:
    cluster_stack(noisy, **SIX)
    again = cluster_stack(noisy, **SIX | options)
    fresh = cluster_stack(noisy, cache=no_cache, **SIX | options)
    assert [len(encoder.seen) for encoder in by_grey] == [10, 0, 10]
    same(again, fresh)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "paper"},
        {"encoder": "grey with decoder", "refinement": "decoder"},
        {"n_components": 3},
    ],
)
def test_so_does_a_run_that_keeps_something_else_of_its_frames(
    by_grey: Any, noisy: np.ndarray, no_cache: FeatureCache, options: dict[str, Any]
) -> None:
    cluster_stack(noisy, **SIX)
    first, again = (cluster_stack(noisy, **SIX | options) for _ in range(2))
    fresh = cluster_stack(noisy, cache=no_cache, **SIX | options)
    assert [len(encoder.seen) for encoder in by_grey] == [10, 10, 0, 10]
    same(first, fresh)
    same(again, fresh)


@pytest.mark.parametrize("options", [{"stride": 8}, {"tile": 128}, {"encoder": "another"}])
def test_tokens_of_another_encoding_are_not_taken(
    by_grey: Any, noisy: np.ndarray, options: dict[str, Any]
) -> None:
    cluster_stack(noisy, **SIX)
    cluster_stack(noisy, **SIX | options)
    assert len(by_grey[1].seen) == 10


def test_a_model_s_frames_are_known_as_well(
    by_grey: Any, noisy: np.ndarray, no_cache: FeatureCache
) -> None:
    model = cluster_stack(noisy[:6], **SIX).model
    first, again = (cluster_stack(noisy, model=model, axes="TYX") for _ in range(2))
    fresh = cluster_stack(noisy, model=model, axes="TYX", cache=no_cache)
    assert len(by_grey[2].seen) == 0
    same(first, fresh)
    same(again, fresh)


def test_a_copy_under_another_name_or_type_is_known_by_what_is_in_it(
    by_grey: Any, noisy: np.ndarray
) -> None:
    first = cluster_stack(noisy, **SIX)
    again = cluster_stack(noisy.astype(np.uint16), **SIX)
    assert len(by_grey[1].seen) == 0
    same(first, again)


def test_a_longer_movie_is_looked_at_anew(by_grey: Any, draw: Callable[..., Any]) -> None:
    pixels = draw(frames=12, noise=25).pixels
    cluster_stack(pixels[:8], **SIX)
    cluster_stack(pixels, **SIX)
    assert len(by_grey[1].seen) == 12  # its components are others


# -- what can go wrong -----------------------------------------------------------------------


def entries(cache: FeatureCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def test_what_is_damaged_or_gone_is_encoded_again(by_grey: Any, noisy: np.ndarray) -> None:
    cache = FeatureCache()
    first = cluster_stack(noisy, **SIX)
    # Ten frames and the first look; of those looked at, whole tokens are not kept for ever.
    assert len(entries(cache)) == 11
    whole = {file: file.read_bytes() for file in entries(cache)}
    for number, (file, content) in enumerate(whole.items()):
        if number % 2:
            file.write_bytes(content[:-100] + bytes(100))
        else:
            file.unlink()
        again = cluster_stack(noisy, **SIX)
        same(first, again)
        # A frame, or those looked at, or none where the look was lost and its frames were not.
        assert len(by_grey[-1].seen) in (1, 6)
        assert len(entries(cache)) == 11


def test_a_movie_larger_than_the_limit_has_its_first_frames_kept(
    by_grey: Any, noisy: np.ndarray, tmp_path: Path
) -> None:
    whole = FeatureCache(tmp_path / "whole")
    first = cluster_stack(noisy, cache=whole, **SIX)
    limit = whole.size() * 3 // 4
    seen = []
    for _ in range(4):
        again = cluster_stack(noisy, cache=FeatureCache(tmp_path / "less", limit), **SIX)
        same(first, again)
        seen.append(len(by_grey[-1].seen))
    assert seen[0] == 10
    # Frames of the first look may go once for those before them; then what is kept stays.
    assert 0 < seen[2] == seen[3] < 10


def test_tokens_from_smaller_tiles_are_not_kept_for_better_days(
    by_grey: Any, noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(*arguments: Any, **options: Any) -> Any:
        yield Notice("Memory was not enough; going on with tiles of 512 pixels.")
        return (yield from iter_encode(*arguments, **options))

    with monkeypatch.context() as patch:
        patch.setattr("napari_kindred.clusters.frame_features.iter_encode", short_of_memory)
        result = cluster_stack(noisy, **SIX)
    assert any("Memory" in note for note in result.provenance["notes"])
    cluster_stack(noisy, **SIX)
    assert len(by_grey[1].seen) == 10


# -- stopped and killed ----------------------------------------------------------------------


def test_a_cancelled_run_goes_on_where_it_was(by_grey: Any, noisy: np.ndarray) -> None:
    job = iter_cluster_stack(noisy, **SIX)
    while sum(len(encoder.seen) for encoder in by_grey) < 8:
        next(job)
    job.close()
    events: list[Any] = []
    result = finish(iter_cluster_stack(noisy, **SIX), events.append)
    done = len(by_grey[0].seen)
    assert done in (8, 9)
    known = [event for event in events if isinstance(event, Progress) and event.what == "cached"]
    # The frame that was being encoded when it was cancelled is not known.
    assert len(known) in (done - 1, done)
    assert len(by_grey[1].seen) == 10 - len(known)
    same(result, cluster_stack(noisy, cache=FeatureCache(limit=0), **SIX))


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import torch
from conftest import GreyEncoder
from napari_kindred.clusters import pipeline
from napari_kindred.clusters.predict import iter_cluster_stack
from napari_kindred.core.events import Progress

def wait():
    print("now", flush=True)
    time.sleep(600)

torch.set_num_threads(int(sys.argv[4]))  # on which what is kept depends

class Waiting(GreyEncoder):
    def encode(self, *arguments):
        if len(self.seen) == int(sys.argv[3]):
            wait()
        return super().encode(*arguments)

pipeline.open_encoder = lambda name, *, stride, device: Waiting(name, stride, device)
for event in iter_cluster_stack(np.load(sys.argv[2]), axes="TYX", n_clusters=6, background="none"):
    if isinstance(event, Progress) and event.what == "labelling" and event.frame:
        wait()
"""


@pytest.mark.parametrize("encoded", [3, 7, 10])
def test_a_killed_run_started_again_gives_the_same_labels_without_encoding_twice(
    by_grey: Any, noisy: np.ndarray, tmp_path: Path, encoded: int
) -> None:
    """Killed in the first look, among the batches, and while outlines are sharpened."""
    np.save(tmp_path / "movie.npy", noisy)
    arguments = [Path(__file__).parent, tmp_path / "movie.npy", encoded, torch.get_num_threads()]
    command = [sys.executable, "-c", KILLED, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline().strip() == b"now"
        running.kill()
    result = cluster_stack(noisy, **SIX)
    assert len(by_grey[0].seen) == 10 - encoded
    same(result, cluster_stack(noisy, cache=FeatureCache(limit=0), **SIX))


# -- the task -------------------------------------------------------------------------------


def elsewhere(thing: Any) -> Any:
    """A thing as it arrives in another process."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own


def test_a_frame_can_be_encoded_elsewhere(noisy: np.ndarray, by_grey: Any) -> None:
    how = elsewhere(Encoding.of(ClusterConfig()))
    encoder = pipeline.open_encoder("kindred", stride=4, device="cpu")
    pixels = noisy[0, ..., None] / np.float32(255)
    whole = finish(encode_frame(encoder, pixels, how, None))
    assert whole.tokens.shape == (24, 32, 6)
    basis = fit_basis(whole.values().reshape(-1, 6), 3)
    kept = elsewhere(finish(encode_frame(encoder, pixels, how, elsewhere(basis))))
    assert (kept.tokens.dtype, kept.tokens.shape) == (np.float16, (24, 32, 3))
    np.testing.assert_allclose(kept.values(), basis.reduce(whole.values()), atol=2e-3)
    sampled = finish(encode_frame(encoder, pixels, how, basis, sampled=True))
    np.testing.assert_allclose(sampled.tokens, whole.reduced(basis).tokens, rtol=2e-3, atol=2e-3)
