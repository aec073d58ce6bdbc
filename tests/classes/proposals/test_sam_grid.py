"""A SAM asked at the points of a grid; any weights will do, for what is tested are the paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_kindred.classes.proposals import sam_grid
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.classes.proposals.sam_grid import SamGrid, grid_points
from napari_kindred.classes.sam.model import new_sam, save_sam, shapes
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.teach import teach_classes
from napari_kindred.core.errors import KindredError, OptionError, WeightsError
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.encoders.encode import to_batch
from napari_kindred.encoders.sam import open_sam

SIZES = shapes(side=64, width=32, depth=2, heads=2, window=4, channels=32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SAM of random weights, with 32 numbers a token."""
    file = tmp_path_factory.mktemp("sam") / "tiny.safetensors"
    save_sam(new_sam(SIZES), file, {})
    return str(file)


@pytest.fixture
def pixels() -> np.ndarray:
    """A picture (48, 80, 3), smaller than the input one way and larger the other."""
    return np.random.default_rng(0).random((48, 80, 3), np.float32)


def every_mask(pixels: np.ndarray, path: str, point: np.ndarray) -> np.ndarray:
    """The three masks of a point as the encoder's own decoder gives them, (3, H, W)."""
    encoder = open_sam(path, "cpu")
    values = encoder.encode(to_batch(pixels)).values[0]
    assert encoder.decoder is not None
    return (encoder.decoder.decode(values, torch.from_numpy(point[None]), (48, 80)) > 0).numpy()


def test_masks_are_those_of_sams_own_decoder(pixels: np.ndarray, path: str) -> None:
    found = finish(open_proposer("sam", path, points=4, masks="all").iter_propose(pixels))
    for number, point in enumerate(found.points):
        masks = every_mask(pixels, path, point)
        agree = [(mask == found.masks.dense(number)).mean() for mask in masks]
        assert max(agree) > 0.999


def test_the_best_mask_is_the_one_of_highest_predicted_quality(
    pixels: np.ndarray, path: str
) -> None:
    best = finish(open_proposer("sam", path, points=4).iter_propose(pixels))
    every = finish(open_proposer("sam", path, points=4, masks="all").iter_propose(pixels))
    assert len(best) == 4
    assert best.embeddings.shape == (4, 4 * 32)
    assert ((best.quality >= 0) & (best.quality <= 1)).all()
    for number, point in enumerate(best.points):
        same = np.flatnonzero((every.points == point).all(1))
        chosen = same[every.quality[same].argmax()]
        assert best.quality[number] == pytest.approx(every.quality[chosen])


def test_with_all_masks_each_has_its_own_token_first(pixels: np.ndarray, path: str) -> None:
    best = finish(open_proposer("sam", path, points=1).iter_propose(pixels))
    every = finish(open_proposer("sam", path, points=1, masks="all").iter_propose(pixels))
    tokens = best.embeddings[0].reshape(4, 32)
    assert len(every) == 3
    for number, embedding in enumerate(every.embeddings, start=1):
        rest = [k for k in range(4) if k != number]
        np.testing.assert_allclose(
            embedding.reshape(4, 32), tokens[[number, *rest]], rtol=1e-4, atol=1e-5
        )


def test_all_masks_may_be_taught(pixels: np.ndarray, path: str) -> None:
    image = (255 * pixels).astype(np.uint8)
    examples = [Example(image, names=("noise",)), Example(255 - image, names=("other noise",))]
    spec = {}
    for masks in ("best", "all"):
        options = {"proposals": "sam", "encoder": path, "points": 4, "masks": masks}
        made = teach_classes(examples, **options, folds=0, steps=2)
        spec[masks] = made.spec, sum(map(len, made.bags))
    assert spec["all"][0].options["masks"] == "all"
    assert spec["all"][1] > spec["best"][1] > 0


def test_an_image_is_encoded_once_and_batches_do_not_change_the_proposals(
    pixels: np.ndarray, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finish(open_proposer("sam", path, points=9).iter_propose(pixels))
    monkeypatch.setattr(sam_grid, "BATCH", 4)
    encoder = open_sam(path, "cpu")
    pictures, batches, real = [], [], sam_grid.predict_masks

    def asked(sam: Any, embedding: Any, points: np.ndarray, shape: Any) -> Any:
        batches.append(len(points))
        return real(sam, embedding, points, shape)

    monkeypatch.setattr(sam_grid, "predict_masks", asked)
    encoder.sam.image_encoder.register_forward_hook(lambda *_: pictures.append(1))
    found = finish(SamGrid(encoder, points=9).iter_propose(pixels))
    assert pictures == [1]
    assert batches == [4, 4, 1]
    np.testing.assert_allclose(found.embeddings, whole.embeddings, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.points, whole.points)


def test_too_little_memory_means_fewer_points_at_a_time(
    pixels: np.ndarray, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = sam_grid.predict_masks, []

    def narrow(sam: Any, embedding: Any, points: np.ndarray, shape: Any) -> Any:
        sizes.append(len(points))
        if len(points) > 2:
            raise RuntimeError("CUDA out of memory")
        return real(sam, embedding, points, shape)

    monkeypatch.setattr(sam_grid, "predict_masks", narrow)
    monkeypatch.setattr(sam_grid, "BATCH", 8)
    events: list[Any] = []
    found = finish(open_proposer("sam", path, points=9).iter_propose(pixels), events.append)
    assert sizes[:3] == [8, 4, 2]
    assert len(found) == 9
    assert [event.text for event in events if isinstance(event, Notice)]


def test_no_memory_at_all_is_one_sentence(
    pixels: np.ndarray, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sam_grid, "predict_masks", fail)
    with pytest.raises(KindredError, match="smaller SAM"):
        finish(open_proposer("sam", path, points=4).iter_propose(pixels))


def test_progress_never_goes_back(path: str) -> None:
    pixels = np.random.default_rng(0).random((80, 150, 1), np.float32)
    events: list[Any] = []
    job = open_proposer("sam", path, points=4, large="tiles").iter_propose(pixels)
    finish(job, events.append)
    shares = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)
    assert shares[0] == 0


def test_tiles_ask_for_a_grid_each_and_place_masks_in_the_whole(path: str) -> None:
    pixels = np.random.default_rng(0).random((60, 150, 1), np.float32)
    whole = finish(open_proposer("sam", path, points=4).iter_propose(pixels))
    tiled = finish(open_proposer("sam", path, points=4, large="tiles").iter_propose(pixels))
    assert len(whole) <= 4 < len(tiled)
    assert tiled.masks.shape == (60, 150)
    assert tiled.masks.boxes[:, 3].max() > 128  # what a single tile cannot reach
    assert (tiled.points >= 0).all()
    assert (tiled.points < [60, 150]).all()


def test_grid_points_lie_in_the_middles_of_equal_parts() -> None:
    points = grid_points((slice(0, 20), slice(10, 50)), 2)
    np.testing.assert_allclose(points, [[4.5, 19.5], [4.5, 39.5], [14.5, 19.5], [14.5, 39.5]])


def test_a_spec_opens_the_same_proposer_or_names_both_hashes(path: str, tmp_path: Path) -> None:
    spec = open_proposer("sam", path, points=16, masks="all", large="tiles").spec
    assert spec.open().spec == spec
    other = tmp_path / "other.safetensors"
    save_sam(new_sam(SIZES, seed=1), other, {})
    theirs = open_proposer("sam", str(other)).spec
    Path(path).rename(tmp_path / "kept")
    try:
        other.rename(path)
        with pytest.raises(WeightsError, match=f"{theirs.sha256[:12]}.*{spec.sha256[:12]}"):
            spec.open()
    finally:
        (tmp_path / "kept").replace(path)


@pytest.mark.parametrize(
    "wrong", [{"points": 0}, {"points": 20_000}, {"masks": "some"}, {"large": "crop"}]
)
def test_an_option_that_is_not_possible_is_named(path: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}="):
        open_proposer("sam", path, **wrong)


def test_a_sam_that_is_not_here_is_told_by_its_name() -> None:
    with pytest.raises(WeightsError, match="no-such-sam"):
        open_proposer("sam", "no-such-sam")
