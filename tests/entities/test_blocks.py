"""Planes in blocks: the same entities as whole, one id each, and no more memory than a block's."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from skimage.measure import label

import napari_kindred as nk
from napari_kindred.core.events import Notice, Partial, Progress, finish
from napari_kindred.entities import blocks, frame_tasks, stitching
from napari_kindred.entities import segment as plane
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.config import EntityConfig, NetworkConfig
from napari_kindred.entities.decode import InstanceMap
from napari_kindred.entities.region_reader import PlaneSource
from napari_kindred.entities.resampling import GridMapping
from napari_kindred.entities.scoring import ObjectFilter, ScoreModel
from napari_kindred.entities.segment import resize
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.assembly import within
from napari_kindred.results.label_ids import unique_ids
from napari_kindred.results.metrics import overlaps
from napari_kindred.results.segmentation import measure

CONFIG = EntityConfig(scale=1.0, min_area=0, min_score=0.0)


class Bright:
    """Stands for a network that sees what is bright; each bright patch is an entity."""

    config = NetworkConfig(output_stride=1)
    scoring = None

    def parameters(self):
        return iter([torch.zeros(1)])


@pytest.fixture
def bright(monkeypatch):
    """Segments as the network's place: connected patches, whose score is their brightness."""

    def iter_dense(network, image, tile, views):
        yield Progress(1, 1, "network")
        return image[0, :1].numpy()

    def instances_of(network, dense, mapping, config):
        full = mapping.bilinear(dense)[0].numpy()
        labels = label(full > 0.3, connectivity=1).astype(np.int32)
        return InstanceMap(labels, full, full, None)

    monkeypatch.setattr(blocks, "iter_dense_bounded", iter_dense)
    monkeypatch.setattr(blocks, "instances_of", instances_of)
    monkeypatch.setattr(blocks, "ROOM", 8)
    return Bright(), {"sha256": ""}


def in_blocks(picture, model, monkeypatch, side, **options):
    monkeypatch.setattr(frame_tasks, "BLOCK", side)
    options = {"scale": 1.0, "min_area": 0, "min_score": 0.0, **options}
    return nk.iter_segment_entities(picture, axes="YX", model=model, **options)


def source_of(picture):
    frames = ImageStack.open(picture, "YX")
    return PlaneSource(frames, (), frames.frame_stats(()))


def scattered(side, seed=0, share=0.03):
    """Bright squares on a dark ground, some of which touch."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side), np.uint8)
    for y, x in rng.integers(0, side - 5, (int(share * side * side / 20), 2)):
        picture[y : y + rng.integers(2, 6), x : x + rng.integers(2, 6)] = 200
    return picture


@pytest.mark.parametrize("side", [48, 64, 100])
def test_patches_in_blocks_are_those_of_the_whole_plane_with_the_same_ids(
    bright, monkeypatch, side
):
    picture = scattered(200)
    result = finish(in_blocks(picture, bright, monkeypatch, side))
    np.testing.assert_array_equal(result.labels, label(picture > 0, connectivity=1))


def test_an_entity_over_the_corner_of_four_blocks_has_one_id(bright, monkeypatch):
    picture = np.zeros((120, 120), np.uint8)
    picture[52:68, 50:70] = 200
    result = finish(in_blocks(picture, bright, monkeypatch, 64))
    assert len(blocks.cut((120, 120), 1.0, CONFIG, 64)) == 9 or result.labels.max() == 1
    np.testing.assert_array_equal(result.labels, picture // 200)
    assert result.table["area"].tolist() == [16 * 20]


def test_an_entity_longer_than_many_blocks_has_one_id(bright, monkeypatch):
    """A snake whose arms one block sees as one, and its neighbour as several."""
    picture = np.zeros((200, 200), np.uint8)
    for turn, y in enumerate(range(5, 195, 12)):
        picture[y : y + 5, 5:195] = 200
        end = 188 if turn % 2 else 5
        picture[y : min(y + 17, 195), end : end + 6] = 200
    truth = label(picture > 0, connectivity=1)
    assert truth.max() == 1
    result = finish(in_blocks(picture, bright, monkeypatch, 64))
    np.testing.assert_array_equal(result.labels, truth)


def test_the_table_of_a_plane_in_blocks_is_that_of_the_whole(bright, monkeypatch):
    rng = np.random.default_rng(1)
    picture = (scattered(160) > 0) * rng.integers(150, 250, (160, 160)).astype(np.uint16)
    result = finish(in_blocks(picture, bright, monkeypatch, 64))
    whole = measure(np.asarray(result.labels), picture[..., None].astype(np.float32))
    columns = ["index", "area", "centroid_y", "centroid_x", "mean_intensity"]
    pd.testing.assert_frame_equal(result.table[columns], whole[columns])


def test_what_is_too_small_is_decided_by_the_whole_entity(bright, monkeypatch):
    picture = scattered(200, seed=2)
    patches = label(picture > 0, connectivity=1)
    areas = np.bincount(patches.ravel())
    least = int(np.median(areas[1:]))
    result = finish(in_blocks(picture, bright, monkeypatch, 48, min_area=least))
    assert sorted(result.table["area"]) == sorted(areas[1:][areas[1:] >= least])
    np.testing.assert_array_equal(result.labels > 0, (areas >= least)[patches] & (patches > 0))


def test_what_is_likely_enough_is_decided_by_the_whole_entity(bright, monkeypatch):
    """A score that grows with the size alone: 16 pixels across is as likely as not."""
    monkeypatch.setattr(Bright, "scoring", ScoreModel(-np.log(16) * 4, 0, 0, 0, 4))
    picture = np.zeros((120, 200), np.uint8)
    picture[50:56, 10:190] = 200
    picture[90:100, 60:70] = 200
    result = finish(in_blocks(picture, bright, monkeypatch, 96, min_score=0.5))
    assert result.table["area"].tolist() == [6 * 180]
    odds = (4 / np.pi * 6 * 180 / 16**2) ** 2
    assert result.table["score"].tolist() == pytest.approx([odds / (1 + odds)])


def test_several_resolutions_keep_what_is_longer_than_their_blocks(bright, monkeypatch):
    """Its parts are too small by themselves."""
    picture = np.zeros((120, 200), np.uint8)
    picture[50:56, 10:190] = 200
    picture[90:96, 60:70] = 200
    result = finish(
        in_blocks(picture, bright, monkeypatch, 96, resolutions=2, min_area=600, min_score=0.5)
    )
    assert len(result.table) == 1
    bar = np.arange(120)[:, None] < 80
    both = overlaps(np.asarray(result.labels), (bar & (picture > 0)).astype(np.int32))
    assert both.iou[0] > 0.97


def test_blocks_may_come_in_any_order(bright):
    picture = scattered(200, seed=3)
    source = source_of(picture)
    places = blocks.cut((200, 200), 1.0, CONFIG, 64)
    jobs = [finish(blocks.segment_block(source, p, bright[0], CONFIG, 1.0)) for p in places]
    results = []
    for order in (range(len(jobs)), np.random.default_rng(0).permutation(len(jobs))):
        stitcher, plane = stitching.BlockStitcher(places), np.zeros((200, 200), np.int32)
        for number in order:
            plane[jobs[number].place.inner] = stitcher.add(jobs[number])
        lut, _ = stitcher.finish(ObjectFilter(None, 1.0, CONFIG))
        results.append(lut[plane])
    np.testing.assert_array_equal(*results)


def test_what_two_blocks_disagree_about_is_not_joined_beside_the_cut():
    """One block sees a patch, the other two beside it that share less than half with it."""
    first, second = np.zeros((2, 10, 16), np.int32)
    first[2:6, 2:6] = 1
    second[2:6, 5:8] = 7
    overlap = stitching.Overlap((slice(0, 10), slice(0, 16)), 1, 8)
    assert stitching.same_entities(first, second, overlap).tolist() == []
    second[2:6, 3:6] = 7
    second[2:6, 6:8] = 0
    assert stitching.same_entities(first, second, overlap).tolist() == [[1, 7]]


def test_a_block_of_a_scaled_plane_sees_what_the_whole_scaled_plane_shows():
    """Scaling and enlarging a window gives the samples of scaling and enlarging the whole."""
    rng = np.random.default_rng(0)
    picture = rng.random((300, 260)).astype(np.float32)
    source = source_of(picture)
    whole = source[slice(0, 300), slice(0, 260)]
    for scale in (0.37, 0.5, 1.0, 1.7):
        place = blocks.cut((300, 260), scale, CONFIG, 128)[4]
        (region, seen) = blocks._spans((300, 260), place, scale)
        part = blocks._scaled(source[region], region, (300, 260), seen, scale)
        expected = resize(whole, scale)
        torch.testing.assert_close(part, expected[:, :, *seen], atol=2e-5, rtol=1e-5)
        maps = expected[0, :, ::2, ::2].numpy().copy()
        full = GridMapping.whole((300, 260), scale, 2).bilinear(maps)
        origin = (seen[0].start // 2, seen[1].start // 2)
        cells = [slice(s.start // 2, -(-s.stop // 2)) for s in seen]
        mapping = GridMapping((300, 260), place.outer, scale, 2, origin)
        window = mapping.bilinear(np.ascontiguousarray(maps[:, *cells]))
        torch.testing.assert_close(window, full[:, *place.outer], atol=1e-4, rtol=1e-4)


def test_the_overview_of_a_plane_is_the_plane_scaled(monkeypatch):
    picture = np.random.default_rng(0).random((301, 467)).astype(np.float32)
    source = source_of(picture)
    monkeypatch.setattr("napari_kindred.entities.region_reader._BAND", 4 * 467 * 40)
    whole = resize(source[slice(0, 301), slice(0, 467)], 64 / 467)[0, 0].numpy()
    np.testing.assert_allclose(source.overview(64)[..., 0], whole, atol=1e-5)


class Watched:
    """A plane that is never whole: drawn as it is read, with a note of what was read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, side):
        self.shape = (side, side)
        self.largest = self.read = 0

    def __getitem__(self, picks):
        rows, columns = (
            np.arange(*part.indices(size)) for part, size in zip(picks, self.shape, strict=True)
        )
        self.largest = max(self.largest, len(rows) * len(columns))
        self.read += len(rows) * len(columns)
        away = (rows % 40 - 20)[:, None] ** 2 + (columns % 40 - 20)[None] ** 2
        return ((away < 100) * 200).astype(np.uint8)


def on_disk(monkeypatch, size):
    """Hold labels of more bytes than that on disk."""
    monkeypatch.setattr("napari_kindred.results.assembly.IN_MEMORY", size)
    monkeypatch.setattr("napari_kindred.results.assembly.room_for_labels", lambda *_: size)


def test_a_large_plane_takes_the_memory_of_a_block(bright, monkeypatch, tmp_path):
    on_disk(monkeypatch, 1 << 20)
    monkeypatch.setattr("napari_kindred.images.arrays._BLOCK", 1 << 18)
    peaks = {}
    for side in (1480, 3000):
        plane = Watched(side)
        tracemalloc.start()
        result = finish(in_blocks(plane, bright, monkeypatch, 512))
        peaks[side] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(result.labels, zarr.Array)
        assert len(result.table) == result.labels[:].max() == (side // 40) ** 2
        assert plane.largest <= (512 + 2 * (96 + 32)) ** 2
        assert plane.read < 3.5 * side * side
    assert peaks[3000] < 1.3 * peaks[1480] < 3000 * 3000 * 4


def test_too_little_memory_for_the_plane_means_blocks(bright, monkeypatch):
    """The whole plane asks for too much, and so do windows of more than 500 pixels."""
    picture = scattered(1100, seed=5, share=0.005)
    truth = label(picture > 0, connectivity=1)
    inner = blocks.instances_of

    def limited(network, dense, mapping, config):
        if max(mapping.shape) > 500:
            raise MemoryError
        return inner(network, dense, mapping, config)

    def too_much(*_):
        raise RuntimeError("CUDA out of memory")
        yield

    monkeypatch.setattr(blocks, "instances_of", limited)
    monkeypatch.setattr(plane, "iter_dense_bounded", too_much)
    notices = []
    job = nk.iter_segment_entities(
        picture, axes="YX", model=bright, scale=1.0, min_area=0, min_score=0.0
    )
    result = finish(job, lambda event: notices.append(event) if isinstance(event, Notice) else 0)
    np.testing.assert_array_equal(result.labels, truth)
    assert [n.text for n in notices][-1].endswith("going on with blocks of 512 pixels.")


def test_a_small_budget_makes_tiles_and_blocks_smaller_and_says_so():
    cpu = torch.device("cpu")
    config, side, note = frame_tasks.within_budget(EntityConfig(memory=0.25), cpu, (9000, 9000))
    assert config.tile < 1024
    assert side < blocks.BLOCK
    needed = frame_tasks.TILE_BYTES["torch"] * config.tile**2 + frame_tasks.BLOCK_BYTES * side**2
    assert needed <= 0.25 * 2**30
    assert all(size & (size - 1) == 0 for size in (config.tile, side))
    assert f"{config.tile} pixels" in note
    assert f"{side} pixels" in note
    assert frame_tasks.within_budget(EntityConfig(memory=0.25), cpu, (80, 60)) == (config, side, "")
    plenty = EntityConfig(memory=64)
    assert frame_tasks.within_budget(plenty, cpu, (9000, 9000)) == (plenty, blocks.BLOCK, "")


def test_a_real_picture_in_blocks_is_as_it_is_whole(monkeypatch):
    model = load_network("kindred-entities")
    picture = np.pad(np.asarray(open_sample("nuclei").data)[0], [(0, 384), (0, 384)], "symmetric")
    sure = {"min_area": 12, "min_score": 0.3}  # which no score of this picture is near
    whole = nk.segment_entities(picture, axes="YX", model=model, scale=1.0, **sure)
    cut = finish(in_blocks(picture, model, monkeypatch, 384, **sure))
    both = overlaps(whole.labels, cut.labels)
    assert both.count_first == both.count_second > 200
    best = np.zeros(both.count_first + 1)
    np.maximum.at(best, both.first, both.iou)
    assert best[1:].min() > 0.95
    assert (best[1:] >= 0.99).mean() > 0.98


def test_whoever_is_told_the_events_ends_up_with_the_result(bright, monkeypatch):
    """Blocks with provisional ids, then the frame with its final ones, of a stack on disk."""
    movie = np.stack([scattered(150, seed=6), scattered(150, seed=7)])
    on_disk(monkeypatch, 1 << 10)
    monkeypatch.setattr(frame_tasks, "BLOCK", 64)
    job = nk.iter_segment_entities(
        movie, axes="TYX", model=bright, scale=1.0, min_area=0, min_score=0.0, link="off"
    )
    labels, tables, seen = np.zeros(movie.shape, np.int32), [], []

    def listen(event):
        if isinstance(event, Partial):
            labels[within(event.index, event.block)] = np.asarray(event.labels)
            tables.extend([event.table] * (event.block is None))
            seen.append((event.index, event.block is None, event.assembly))

    result = finish(job, listen)
    assert all(assembly.labels is result.labels for _, _, assembly in seen)
    assert [index for index, whole, _ in seen if whole] == [(0,), (1,)]
    assert len(seen) > 2 * 4
    np.testing.assert_array_equal(labels, result.labels[:])
    pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), result.table)
    for time in (0, 1):
        truth = label(movie[time] > 0, connectivity=1)
        np.testing.assert_array_equal(result.labels[time], truth)


def test_what_a_stopped_plane_leaves_is_a_result(bright, monkeypatch):
    picture = scattered(200, seed=8)
    job, assembly = in_blocks(picture, bright, monkeypatch, 64), None
    for event in job:
        assembly = getattr(event, "assembly", assembly)
        if assembly is not None and len(assembly.table()) > 20:
            break
    job.close()
    assert assembly.begun
    assert assembly.done == 0
    kept = assembly.result()
    assert not kept.provenance["complete"]
    found = kept.labels > 0
    assert found.any()
    np.testing.assert_array_equal(found & (picture == 0), np.zeros_like(found))
    assert kept.table["area"].sum() == found.sum()
    assert set(kept.table["index"]) == set(np.unique(kept.labels)) - {0}


def test_ids_of_a_plane_are_all_final_where_it_is_stopped_as_they_are_settled(bright, monkeypatch):
    monkeypatch.setattr("napari_kindred.images.arrays._BLOCK", 1 << 12)
    picture = scattered(200, seed=8)
    job, assembly = in_blocks(picture, bright, monkeypatch, 64), None
    for event in job:
        assembly = getattr(event, "assembly", assembly)
        if getattr(event, "what", "") == "numbering the entities":
            break
    assert assembly.done == 1
    job.close()
    kept, whole = assembly.result(), finish(in_blocks(picture, bright, monkeypatch, 64))
    np.testing.assert_array_equal(kept.labels, whole.labels)
    pd.testing.assert_frame_equal(kept.table, whole.table)


def test_ids_of_blocks_count_on_as_those_of_unique_ids(bright, monkeypatch):
    movie = np.stack([scattered(150, seed=6), scattered(150, seed=7)])
    monkeypatch.setattr(frame_tasks, "BLOCK", 64)
    options = {"axes": "TYX", "model": bright, "scale": 1.0, "min_area": 0, "min_score": 0.0}
    options["link"] = "off"
    expected = unique_ids(nk.segment_entities(movie, **options))
    unique = nk.segment_entities(movie, **options, unique_ids=True)
    np.testing.assert_array_equal(unique.labels, expected.labels)
    pd.testing.assert_frame_equal(unique.table, expected.table)
