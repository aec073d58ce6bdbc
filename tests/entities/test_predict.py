from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_kindred as nk
from napari_kindred.core.errors import InputError, KindredError, OptionError, WeightsError
from napari_kindred.core.events import Notice, Partial, Progress, finish
from napari_kindred.entities import segment as plane
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.config import EntityConfig, NetworkConfig
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.entities.resampling import GridMapping, scaled_shape
from napari_kindred.images.samples import open_sample
from napari_kindred.results.metrics import average_precision


@pytest.fixture(scope="module")
def network():
    return load_network("kindred-entities")


@pytest.fixture(scope="module")
def nuclei():
    sample = open_sample("nuclei")
    return np.asarray(sample.data), np.asarray(sample.truth)


def score(pairs):
    return average_precision(pairs)["AP50"]


def test_the_shipped_weights_find_the_nuclei_of_the_shipped_movie(network, nuclei):
    movie, truth = nuclei
    result = nk.segment_entities(movie[:2], axes="TYX", model=network)
    assert result.labels.shape == movie[:2].shape
    assert result.labels.dtype == np.int32
    assert score(zip(truth[:2], result.labels, strict=True)) > 0.8


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda p: p, "YX"),
        (lambda p: np.stack([np.zeros_like(p), p]), "CYX"),
        (lambda p: np.stack([p, p])[:, None], "TCYX"),
        (lambda p: np.stack([p] * 3), "ZYX"),
        (lambda p: np.stack([p] * 3, -1), "YXS"),
    ],
)
def test_each_arrangement_of_axes_gives_labels_of_its_frames(network, discs, make, axes):
    picture, truth = discs
    channel = {"CYX": 1, "TCYX": 0}.get(axes)
    result = nk.segment_entities(
        make(picture), axes=axes, channel=channel, model=network, scale=1.0, link="off"
    )
    frames = result.labels.reshape(-1, *truth.shape)
    assert result.axes == axes.replace("C", "").replace("S", "")
    for frame in frames:
        assert score([(truth, frame)]) > 0.8
    assert len(result.table) == sum(len(np.unique(frame)) - 1 for frame in frames)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int32"])
def test_the_type_of_the_numbers_does_not_matter(network, discs, dtype):
    picture, _ = discs
    reference = nk.segment_entities(picture, axes="YX", model=network, scale=1.0)
    result = nk.segment_entities(picture.astype(dtype), axes="YX", model=network, scale=1.0)
    assert np.array_equal(result.labels, reference.labels)


def test_a_tiled_plane_equals_the_whole_one(network, nuclei):
    """Entities on the tiles' borders keep one id and their outline."""
    movie, _ = nuclei
    frame = np.tile(movie[0], (2, 2))
    whole = nk.segment_entities(frame, axes="YX", model=network, scale=1.0, tile=1024).labels
    tiled = nk.segment_entities(frame, axes="YX", model=network, scale=1.0, tile=320).labels
    result = average_precision([(whole, tiled)])
    assert result["AP50"] == 1.0
    assert result["mSA"] > 0.97


def test_cells_of_8_and_of_120_pixels_are_found_alike(network, nuclei):
    movie, truth = nuclei
    from skimage.transform import rescale

    areas = np.bincount(truth[0].ravel())[1:]
    native = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
    picture = movie[0][:128, :128].astype(np.float32)
    for diameter in (8, 120):
        factor = diameter / native
        image = rescale(picture, factor, order=1, anti_aliasing=factor < 1)
        labels = rescale(
            truth[0][:128, :128], factor, order=0, anti_aliasing=False, preserve_range=True
        ).astype(int)
        result = nk.segment_entities(image, axes="YX", model=network)
        assert score([(labels, result.labels)]) > 0.6
        assert result.provenance["typical_diameter"] == pytest.approx(diameter, rel=0.35)


def test_the_same_call_gives_the_same_labels(network, discs):
    picture, _ = discs
    first = nk.segment_entities(picture, axes="YX", model=network)
    second = nk.segment_entities(picture, axes="YX", model=network)
    assert np.array_equal(first.labels, second.labels)


def test_more_resolutions_find_small_entities_beside_large_ones(network):
    y, x = np.mgrid[:256, :256]
    picture = np.full((256, 256), 10.0)
    truth = np.zeros((256, 256), int)
    spots = [(64, 64, 100), (190, 190, 100)]
    spots += [(20 + 40 * i, 140 + 40 * j, 12) for i in range(3) for j in range(3)]
    for number, (cy, cx, d) in enumerate(spots, 1):
        inside = (y - cy) ** 2 + (x - cx) ** 2 < (d / 2) ** 2
        picture[inside], truth[inside] = 200, number
    one = nk.segment_entities(picture, axes="YX", model=network, scale=0.15)
    three = nk.segment_entities(picture, axes="YX", model=network, scale=0.15, resolutions=3)
    small = truth >= 3
    found = [len(np.unique(r.labels[small])) for r in (one, three)]
    assert found[1] > found[0]
    assert score([(truth, three.labels)]) > score([(truth, one.labels)])


def test_events_tell_progress_and_every_frame(network, discs):
    picture, _ = discs
    job = nk.iter_segment_entities(np.stack([picture] * 3), axes="TYX", model=network)
    events = list(job)
    shares = [e.done / e.total for e in events if isinstance(e, Progress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    # Each frame once it is segmented, and again with the ids of tracks.
    assert [e.index for e in events if isinstance(e, Partial)] == [(0,), (1,), (2,)] * 2
    assert any("Scale" in e.text for e in events if isinstance(e, Notice))


@pytest.mark.parametrize("unique_ids", [False, True])
def test_the_same_entity_has_the_same_label_in_every_frame_of_a_movie(network, discs, unique_ids):
    picture, _ = discs
    movie = np.stack([picture, np.roll(picture, 3, axis=1), picture])
    movie[:, :, :3] = picture[:, :3]
    job = nk.iter_segment_entities(
        movie, axes="TYX", model=network, scale=1.0, unique_ids=unique_ids
    )
    shown = {}
    try:
        while True:
            event = next(job)
            if isinstance(event, Partial):
                shown[event.index] = event.labels
    except StopIteration as stop:
        result = stop.value
    assert result.ids == "track"
    assert result.tracks.to_dict("list") == {
        "track": [1, 2, 3, 4, 5, 6],
        "parent": [0] * 6,
        "first": [0] * 6,
        "last": [2] * 6,
    }
    assert len(result.table) == 18
    assert (result.table["index"] == result.table["track"]).all()
    assert all(np.array_equal(labels, result.labels[at]) for at, labels in shown.items())
    for row in result.table.itertuples():
        assert row.area == (result.labels[row.frame] == row.index).sum()
    assert result.provenance["link"]["divisions"]
    before = nk.segment_entities(movie, axes="TYX", model=network, scale=1.0, link="off")
    assert before.ids == "frame"
    assert np.array_equal(nk.link(before).labels, result.labels)


def test_frames_that_are_no_movie_are_not_linked(network, discs):
    stack = np.stack([discs[0]] * 2)
    result = nk.segment_entities(stack, axes="ZYX", model=network, scale=1.0)
    assert result.ids == "stack"
    assert "track" not in result.table
    with pytest.raises(nk.KindredError, match="link='time' needs a movie"):
        nk.segment_entities(stack, axes="ZYX", model=network, link="time")


def test_frames_too_large_for_the_memory_are_not_linked_and_the_result_says_so(
    network, discs, monkeypatch
):
    monkeypatch.setattr("napari_kindred.entities.predict.LINK_BYTES", 1 << 40)
    result = nk.segment_entities(np.stack([discs[0]] * 2), axes="TYX", model=network, scale=1.0)
    assert result.ids == "frame"
    assert any("not linked" in note for note in result.provenance["notes"])


def test_closing_the_generator_leaves_the_frames_that_were_given(network, discs):
    picture, _ = discs
    job = nk.iter_segment_entities(np.stack([picture] * 3), axes="TYX", model=network)
    for event in job:
        if isinstance(event, Partial):
            kept = event.labels
            break
    job.close()
    assert kept.max() == 6


def test_a_stack_is_read_frame_by_frame(network, discs):
    import dask.array as da

    picture, _ = discs
    reads = []

    def block(block_info=None):
        reads.append(block_info[None]["chunk-location"][0])
        return picture[None]

    movie = da.map_blocks(
        block, chunks=((1,) * 4, picture.shape[:1], picture.shape[1:]), dtype=picture.dtype
    )
    job = nk.iter_segment_entities(movie, axes="TYX", model=network, scale=1.0)
    while not isinstance(next(job), Partial):
        pass
    assert set(reads) == {0}
    job.close()


def test_constant_and_empty_frames_stay_empty_and_say_so(network, discs):
    picture, _ = discs
    movie = np.stack([np.full_like(picture, 7), picture])
    result = nk.segment_entities(movie, axes="TYX", model=network)
    assert not result.labels[0].any()
    assert result.labels[1].max() == 6
    assert any("same value" in note for note in result.provenance["notes"])


def test_out_of_memory_halves_the_tile_and_goes_on(network, discs, monkeypatch):
    picture, _ = discs
    net, info = network
    forward, sizes = EntityNetwork.forward, []

    def starved(self, image):
        sizes.append(image.shape[-1])
        if image.shape[-1] > 512:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(self, image)

    monkeypatch.setattr(EntityNetwork, "forward", starved)
    wide = np.tile(picture, (1, 6))
    job = nk.iter_segment_entities(wide, axes="YX", model=(net, info), scale=1.0, tile=1024)
    events = list(job)
    assert any("Memory" in e.text for e in events if isinstance(e, Notice))
    assert max(sizes) > 512 >= sizes[-1]
    assert isinstance(events[-2], Partial)
    assert events[-2].labels.max() > 30


@pytest.mark.parametrize("features", ["content", "both"])
def test_content_features_are_clustered_by_mean_shift(features):
    """A network whose content features are drawn: two entities, two orthogonal lines."""
    config = NetworkConfig(encoder="resnet18", width=16, features=features, content_dim=4)
    network = EntityNetwork(config).eval()
    dense = np.zeros((plane.channels(network), 32, 40), np.float32)
    dense[0] = 5
    dense[0, 4:28, 4:36] = -5
    dense[-4, :, :20] = 1
    dense[-3, :, 20:] = -1
    if features == "both":
        y, x = np.mgrid[:32, :40]
        dense[1] = 32 - (2 * y + 0.5)
        dense[2] = np.where(x < 20, 20, 60) - (2 * x + 0.5)
    mapping = GridMapping.whole((64, 80), 1.0, 2)
    labels, scores = plane.labels_of(network, dense, mapping, EntityConfig())
    assert len(scores) == 2
    assert labels[32, 20] != labels[32, 60]
    assert labels[2, 2] == 0
    assert set(np.unique(labels[12:52, 12:38])) == {labels[32, 20]}


def test_upsampled_maps_lie_where_their_pixels_were():
    """A ramp stays a ramp at odd sizes and any scale, in the plane's own pixels."""
    shape, scale, stride = (37, 51), 0.7, 2
    height, width = scaled_shape(shape, scale)
    rows = -(-height // stride)
    ramp = (np.arange(rows) * stride + 0.5) * shape[0] / height
    dense = np.broadcast_to(ramp[:, None], (1, rows, -(-width // stride))).astype(np.float32)
    maps = np.ascontiguousarray(dense)
    full = GridMapping.whole(shape, scale, stride).bilinear(maps)[0].numpy()
    assert full.shape == shape
    # Pixel p has its middle at p + 0.5 of the plane; a cell's middle is at (2 k + 1) scaled.
    middle = (np.arange(shape[0]) + 0.5) - 0.5 * shape[0] / height
    inside = slice(3, -4)
    assert np.allclose(full[inside, 20], middle[inside], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"axes": "TYX"}, InputError, "axes"),
        ({"channel": 3}, InputError, "channel"),
        ({"scale": 0}, OptionError, "scale"),
        ({"thresold": 0.5}, OptionError, "thresold"),
        ({"device": "abacus"}, OptionError, "device"),
        ({"weights": "nowhere.safetensors"}, WeightsError, "nowhere"),
        ({"tile": 130}, KindredError, "tile"),
    ],
)
def test_wrong_options_get_one_sentence(discs, options, error, words):
    with pytest.raises(error, match=words) as caught:
        nk.segment_entities(discs[0], **{"axes": "YX", **options})
    assert str(caught.value).count("\n") == 0


def test_out_of_the_ordinary_pictures_are_segmented_or_refused(network):
    random = np.random.default_rng(0)
    fine = [
        random.normal(size=(40, 40)) * 1e30,
        -random.random((33, 47)),
        np.where(random.random((40, 40)) < 0.1, np.nan, 1.0),
        random.random((2, 300)) > 0.5,
    ]
    for picture in fine:
        result = nk.segment_entities(picture, axes="YX", model=network)
        assert result.labels.shape == picture.shape
    for picture in (np.zeros((0, 10)), np.zeros((10, 1)), np.ones((8, 8), complex)):
        with pytest.raises(InputError):
            nk.segment_entities(picture, axes="YX", model=network)


def test_padding_reaches_the_grid_and_mirrors_the_picture():
    window = torch.arange(12.0).reshape(1, 1, 3, 4)
    padded = plane.pad_to_multiple(window, 8)
    assert padded.shape[-2:] == (8, 8)
    assert torch.equal(padded[..., :3, :4], window)
    wide = plane.pad_to_multiple(torch.rand(1, 3, 40, 40))
    assert torch.equal(wide[..., 40:64, :40], wide[..., 15:39, :40].flip(-2))


@pytest.mark.parametrize(("views", "axes"), [(2, (2, 3)), (4, (2,)), (4, (3,))])
def test_with_more_views_a_mirrored_picture_is_seen_mirrored(views, axes):
    network, _ = load_network("kindred-entities")
    nuclei = np.asarray(open_sample("nuclei").data[0, :192, :224], np.float32)
    picture = torch.from_numpy(nuclei / nuclei.max())[None, None].expand(1, 3, -1, -1)
    seen = finish(plane.iter_dense(network, picture, 1024, views))
    mirrored = finish(plane.iter_dense(network, picture.flip(axes), 1024, views))
    back = np.flip(mirrored, [axis - 1 for axis in axes]).copy()
    for axis in axes:
        back[axis - 1] *= -1  # the way down, or across, to the centre
    np.testing.assert_allclose(back, seen, atol=1e-4)
    once = finish(plane.iter_dense(network, picture, 1024))
    assert np.abs(once - seen).max() > 0.1
