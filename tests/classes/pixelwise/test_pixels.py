"""Classes of pixels, taught by a few marks, in images of any size, movies and files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import napari_kindred as nk
from napari_kindred.classes.open import closed, opened
from napari_kindred.classes.pixelwise import describer
from napari_kindred.classes.pixelwise.head import PixelHead
from napari_kindred.classes.vocabulary.quality import estimated_iou, iter_quality
from napari_kindred.classes.vocabulary.vocabulary import iter_learn
from napari_kindred.core.errors import InputError, OptionError, WeightsError
from napari_kindred.core.events import Notice, finish
from napari_kindred.images.stack import normalise
from napari_kindred.results.metrics import mean_iou

if TYPE_CHECKING:
    from napari_kindred.classes.pixelwise.describer import PixelDescriber

SIDE = 96
NAMES = ["stripes", "grain"]


def picture(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> tuple[np.ndarray, np.ndarray]:
    """Stripes, grain and an even ground, equally bright, side by side; image and truth."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    truth = (rows // 32 + columns // 32 + seed) % 3
    stripes = 40 * np.sign(np.sin(columns / 1.3))
    grain = random.normal(0, 40, shape)
    values = 120 + np.select([truth == 1, truth == 2], [stripes, grain], 0)
    return (values + random.normal(0, 3, shape)).clip(0, 255).astype(np.uint8), truth


def example(seed: int, count: int = 8) -> nk.Example:
    """An image with some points on each of them, inside."""
    image, truth = picture(seed)
    inner = np.zeros(truth.shape, bool)
    inner.reshape(3, 32, 3, 32)[:, 6:-6, :, 6:-6] = True
    random = np.random.default_rng(seed)
    points = {}
    for number, name in enumerate(["background", *NAMES]):
        places = np.argwhere(inner & (truth == number))
        points[name] = places[random.choice(len(places), count, replace=False)]
    return nk.Example(image, points=points)


@pytest.fixture(scope="module")
def vocabulary() -> nk.Vocabulary:
    return nk.teach_classes([example(0), example(1)], proposals="pixels")


@pytest.fixture(scope="module")
def result(vocabulary: nk.Vocabulary) -> nk.ClassSegmentation:
    return nk.segment_classes(picture(5)[0], NAMES, vocabulary=vocabulary)


def right(labels: Any, truth: np.ndarray) -> float:
    return float((np.asarray(labels) == truth).mean())


def test_a_few_points_tell_textures_apart(
    vocabulary: nk.Vocabulary, result: nk.ClassSegmentation
) -> None:
    assert vocabulary.spec.kind == "pixels"
    assert right(result.labels, picture(5)[1]) > 0.85
    assert vocabulary.quality["masks"] > 0.8
    assert vocabulary.quality["iou"] > 0.6


def test_the_own_estimate_is_of_the_unmarked_pixels_of_images_left_out(
    vocabulary: nk.Vocabulary,
) -> None:
    """Marks are inside of the textures, where it is easy; the estimate knows their rims as well."""
    truth, labels = [], []
    for seed in range(2, 6):
        image, wanted = picture(seed)
        truth.append(wanted)
        labels.append(np.asarray(nk.segment_classes(image, NAMES, vocabulary=vocabulary).labels))
    reached = mean_iou(list(zip(truth, labels, strict=True)))[0]
    assert reached - 0.2 < vocabulary.quality["iou"] < reached + 0.05


def test_lost_marks_and_large_images_count_in_the_own_estimate(vocabulary: nk.Vocabulary) -> None:
    bags = list(vocabulary.bags)
    assert [bag.area for bag in bags] == [SIDE**2] * 2
    lost = [replace(bag, lost=np.array([8, 0], np.int16)) for bag in bags]

    def own(some: list[Any]) -> float:
        learn = partial(iter_learn, spec=vocabulary.spec)
        job = iter_quality(some, NAMES, vocabulary.config, vocabulary.spec, learn)
        return float(finish(job)["iou"])

    # Half of the marks of one of two classes are lost, so about a quarter of the mean.
    assert 0.7 < own(lost) / vocabulary.quality["iou"] < 0.85
    first, second = (own([replace(one, area=1e6) if one is bags[i] else one for one in bags])
                     for i in (0, 1))  # fmt: skip
    assert min(first, second) < vocabulary.quality["iou"] < max(first, second)


def test_the_estimated_iou_is_that_of_the_counts() -> None:
    assert estimated_iou(np.array([[80, 20], [90, 810]])) == pytest.approx([80 / 190, 810 / 920])
    assert estimated_iou(np.zeros((2, 2))) == pytest.approx([0, 0])


def test_marks_that_fit_no_cells_teach_pixels_by_default() -> None:
    notes: list[Any] = []
    made = finish(nk.iter_teach_classes([example(0)], folds=2), notes.append)
    assert made.spec.kind == "pixels"
    assert any("pixels are named instead" in n.text for n in notes if isinstance(n, Notice))
    assert made.quality["pictures"] == 1
    assert made.quality["parts"] == 4


def test_images_without_cells_are_described_as_they_are_and_others_by_the_size_of_their_cells(
    vocabulary: nk.Vocabulary,
) -> None:
    assert vocabulary.spec.options["entities"]["scale"] == 1.0
    assert vocabulary.spec.open("cpu").spec.matches(vocabulary.spec)
    rows, columns = np.mgrid[:240, :240]
    discs = (rows % 80 - 40) ** 2 + (columns % 80 - 40) ** 2 < 30**2
    image = np.where(discs, 200, 20) + np.random.default_rng(0).normal(0, 4, discs.shape)
    points = {"cell": [(40, 40), (120, 120)], "background": [(0, 0), (80, 80)]}
    cells = nk.Example(image.clip(0, 255).astype(np.uint8), points=points)
    taught = nk.teach_classes([cells], proposals="pixels", folds=0)
    assert taught.spec.options["entities"]["scale"] == "auto"
    with pytest.raises(OptionError, match="at scale 1"):
        taught.merge(vocabulary)


def test_an_encoder_that_is_named_may_be_the_vocabularys_own(vocabulary: nk.Vocabulary) -> None:
    image = picture(5)[0]
    found = nk.segment_classes(image, NAMES, vocabulary=vocabulary, encoder="efficientnet")
    assert right(found.labels, picture(5)[1]) > 0.85


def test_a_file_gives_the_same_labels(
    tmp_path: Any, vocabulary: nk.Vocabulary, result: nk.ClassSegmentation
) -> None:
    path = vocabulary.save(tmp_path / "textures.kindred")
    again = nk.segment_classes(picture(5)[0], NAMES, vocabulary=path)
    assert np.array_equal(again.labels, result.labels)
    assert b"pickle" not in path.read_bytes()
    damaged = path.read_bytes().replace(b"pixels.forest.roots", b"pixels.forest.boots")
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="damaged"):
        nk.Vocabulary.load(path)


def test_tiles_and_the_whole_give_the_same_filters(
    vocabulary: nk.Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = normalise(picture(3, (230, 40))[0][..., None].astype(np.float32))
    opened_: PixelDescriber = vocabulary.spec.open("cpu")
    head = vocabulary.head
    assert isinstance(head, PixelHead)
    whole = finish(opened_.iter_maps(image, head))
    monkeypatch.setattr(describer, "TILE", 200)
    tiled = finish(opened_.iter_maps(image, head))
    assert np.abs(whole.astype(int) - tiled).max() <= 16  # a value on a threshold of one tree
    assert (whole != tiled).mean() < 0.01


def test_threshold_names_and_groups_change_without_looking_again(
    vocabulary: nk.Vocabulary, result: nk.ClassSegmentation
) -> None:
    truth = picture(5)[1]
    strict = result.at_threshold(0.9)
    assert 0 < (strict.labels > 0).sum() < (result.labels > 0).sum()
    grain = result.with_names(["grain"])
    # Of two equal chances the first name wins, which is another one here.
    assert right(np.asarray(grain.labels) > 0, np.asarray(result.labels) == 2) > 0.98
    observations = result.observations
    assert observations is not None
    coarse = vocabulary.regroup({"texture": NAMES})
    classifier: Any = observations.classifier
    merged = replace(
        result,
        observations=replace(
            observations, classifier=classifier.regrouped(coarse, "texture", NAMES)
        ),
    ).with_names(["texture"])
    assert right(np.asarray(merged.labels) > 0, truth > 0) > 0.85


def test_a_result_on_disk_keeps_what_changes_it(
    tmp_path: Any, result: nk.ClassSegmentation
) -> None:
    again: Any = nk.load_segmentation(result.save(tmp_path / "textures.ome.zarr"))
    for threshold in (0.6, "auto"):
        assert np.array_equal(
            again.at_threshold(threshold).labels, result.at_threshold(threshold).labels
        )


def test_movies_and_workers_give_the_same(
    vocabulary: nk.Vocabulary, result: nk.ClassSegmentation
) -> None:
    movie = np.stack([picture(4)[0], picture(5)[0]])
    found = nk.segment_classes(movie, NAMES, vocabulary=vocabulary, axes="TYX", scheduler="threads")
    assert found.labels.shape == (2, SIDE, SIDE)
    observations = result.observations
    assert observations is not None
    reopened = opened(closed(observations.classifier), "cpu")
    one = nk.segment_classes(picture(5)[0], NAMES, classifier=reopened)
    assert np.array_equal(one.labels, result.labels)


def test_what_cannot_be_is_refused_in_a_sentence(vocabulary: nk.Vocabulary) -> None:
    colours = np.repeat(picture(5)[0][..., None], 3, -1)
    with pytest.raises(InputError, match="taught on images of one channel"):
        nk.segment_classes(colours, NAMES, vocabulary=vocabulary, axes="YXS")
    only = nk.Example(picture(0)[0], names=("stripes",))
    with pytest.raises(InputError, match="teaches no pixels"):
        nk.teach_classes([only], proposals="pixels")
    with pytest.raises(OptionError, match="'pixels'"):
        nk.segment_classes(picture(5)[0], NAMES, vocabulary=vocabulary, proposals="regions")
