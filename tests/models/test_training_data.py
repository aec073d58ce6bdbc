"""Data folders: which pictures are read, into which split and group, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.models.training_data import (
    TrainingArrays,
    data_hash,
    group_weights,
    load_examples,
    load_splits,
    median_diameter,
    read_emphasis,
    split_of,
    spread,
)


def picture(shape=(24, 32), seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def square(shape=(24, 32), side=8):
    labels = np.zeros(shape, np.uint16)
    labels[2 : 2 + side, 3 : 3 + side] = 5
    return labels


def write(folder, pictures, index=""):
    """Write a data folder of ``{name: (picture, labels)}``; labels may be None."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, (image, labels) in pictures.items():
        tifffile.imwrite(
            folder / "images" / f"{name}.tif",
            image,
            photometric="rgb" if image.ndim == 3 else "minisblack",
        )
        if labels is not None:
            tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
    if index:
        (folder / "index.csv").write_text(index)
    return folder


def names(examples):
    return [e.name for e in examples]


def test_a_folder_of_pictures_and_labels_with_equal_stems_is_read_in_name_order(tmp_path):
    data = write(tmp_path / "mine", {n: (picture(), square()) for n in ("train_b", "train_a")})
    imsave(data / "images" / "train_c.png", picture(), check_contrast=False)
    imsave(data / "labels" / "train_c.png", square().astype(np.uint8), check_contrast=False)
    (data / "images" / "notes.txt").write_text("not a picture")
    examples = load_examples([data], "train")
    assert names(examples) == ["train_a", "train_b", "train_c"]
    for example in examples:
        assert example.labels.dtype == np.int32
        np.testing.assert_array_equal(example.labels, square())
        assert example.pyramid[0].shape == (3, 24, 32)
        assert (example.group, example.complete) == ("mine", True)


def test_the_index_decides_about_split_modality_and_completeness(tmp_path):
    index = (
        "id,split,modality,complete\n"
        "val_a,train,phase,1\n"
        "train_b,val,phase,1\n"
        "c,train,fluorescence,0\n"
        "d,test,phase,1\n"
    )
    pictures = {n: (picture(), square()) for n in ("val_a", "train_b", "c", "d")}
    data = write(tmp_path / "mine", pictures, index)
    train, val = (load_examples([data], split) for split in ("train", "val"))
    assert {e.name: (e.group, e.complete) for e in train} == {
        "val_a": ("mine/phase", True),
        "c": ("mine/fluorescence", False),
    }
    assert names(val) == ["train_b"]


def test_an_index_may_say_name_and_modality_guess_instead(tmp_path):
    data = write(
        tmp_path / "mine", {"a": (picture(), square())}, "name,modality_guess,split\na,ihc,val\n"
    )
    assert [e.group for e in load_examples([data], "val")] == ["mine/ihc"]


def test_without_an_index_names_decide_and_else_every_tenth_picture_validates():
    assert split_of("val_3", {}, 0) == "val"
    assert split_of("train_3", {}, 9) == "train"
    assert [i for i in range(30) if split_of("x", {}, i) == "val"] == [9, 19, 29]
    assert split_of("x", {"split": ""}, 9) == "val"


def test_folders_are_read_one_after_another_each_a_group(tmp_path):
    one = write(tmp_path / "one", {"a": (picture(), square())})
    two = write(tmp_path / "two", {"a": (picture(), square())})
    assert [e.group for e in load_examples([two, one], "train")] == ["two", "one"]


def test_pictures_without_labels_are_named(tmp_path):
    data = write(tmp_path / "mine", {"a": (picture(), square()), "b": (picture(), None)})
    with pytest.raises(InputError, match=r"mine/labels has no label image named b\."):
        load_examples([data], "train")


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_missing_folder_is_named(tmp_path, part):
    data = write(tmp_path / "mine", {})
    (data / part).rmdir()
    with pytest.raises(InputError, match=rf"needs a folder {part}/ inside"):
        load_examples([data], "train")


def test_a_picture_and_labels_of_different_shapes_are_refused(tmp_path):
    data = write(tmp_path / "mine", {"a": (picture((24, 32)), square((24, 31)))})
    with pytest.raises(InputError, match=r"a: the image is \(24, 32\) but .* \(24, 31\)"):
        load_examples([data], "train")


def test_grey_pictures_have_three_equal_channels_and_colour_ones_their_own(tmp_path):
    colour = picture((24, 32, 3))
    alpha = np.concatenate([colour, np.full((24, 32, 1), 255, np.uint8)], -1)
    data = write(
        tmp_path / "mine",
        {"a": (picture(), square()), "b": (colour, square()), "c": (alpha, square())},
    )
    grey, rgb, rgba = load_examples([data], "train")
    assert [e.grey for e in (grey, rgb, rgba)] == [True, False, False]
    assert np.ptp(grey.pyramid[0], axis=0).max() == 0
    assert np.ptp(rgb.pyramid[0], axis=0).max() > 0.5
    np.testing.assert_array_equal(rgb.pyramid[0], rgba.pyramid[0])


def test_pictures_are_normalised_so_that_their_range_is_of_no_consequence(tmp_path):
    image = picture()
    deep = (image.astype(np.uint16) * 100) + 3000
    data = write(tmp_path / "mine", {"a": (image, square()), "b": (deep, square())})
    one, two = load_examples([data], "train")
    np.testing.assert_allclose(one.pyramid[0], two.pyramid[0], atol=2e-3)
    assert np.percentile(one.pyramid[0].astype(float), [1, 99]) == pytest.approx([0, 1], abs=0.02)


@pytest.mark.parametrize("shape", [(256, 300), (257, 301)])
def test_each_level_of_the_pyramid_is_the_mean_of_blocks_of_the_one_before(tmp_path, shape):
    image = picture(shape)
    data = write(tmp_path / "mine", {"a": (image, square(shape))})
    (example,) = load_examples([data], "train")
    first, second = (p.astype(float) for p in example.pyramid[:2])
    assert second.shape[1:] == tuple(-(-side // 2) for side in shape)
    last = (second.shape[1] - 1, second.shape[2] - 1)
    for y, x in ((0, 0), (39, 76), last):
        block = first[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        np.testing.assert_allclose(second[:, y, x], block.mean((1, 2)), atol=2e-3)
    assert 64 <= min(example.pyramid[-1].shape[1:]) < 128


def test_median_diameter_is_that_of_the_discs():
    rows, columns = np.mgrid[:60, :200]
    labels = np.zeros((60, 200), int)
    for label, (x, radius) in {2: (20, 8), 4: (70, 12), 9: (150, 25)}.items():
        labels[(rows - 30) ** 2 + (columns - x) ** 2 <= radius**2] = label
    assert median_diameter(labels) == pytest.approx(24, rel=0.03)
    assert median_diameter(labels * 0) == 0


@pytest.fixture
def mixed(tmp_path):
    """Two large pictures of one group, eight small ones of another."""
    large = {f"large{i}": (picture((80, 80), i), square((80, 80))) for i in range(2)}
    small = {f"train{i}": (picture((20, 20), i), square((20, 20))) for i in range(8)}
    folders = [write(tmp_path / "large", large), write(tmp_path / "small", small)]
    return load_examples(folders, "train")


def test_chances_add_to_one_and_grow_with_the_square_root_of_a_group_s_pixels(mixed):
    chances = group_weights(mixed)
    assert chances.sum() == pytest.approx(1)
    large, small = (
        sum(c for c, e in zip(chances, mixed, strict=True) if e.group == g)
        for g in ("large", "small")
    )
    assert large / small == pytest.approx(((2 * 80 * 80) / (8 * 20 * 20)) ** 0.5)


def test_equal_pictures_of_a_group_are_equally_likely(mixed):
    chances = group_weights(mixed)
    for group in ("large", "small"):
        inside = [c for c, e in zip(chances, mixed, strict=True) if e.group == group]
        assert np.ptp(inside) == pytest.approx(0)


def test_a_group_that_is_emphasised_is_drawn_more_often(mixed):
    factors = read_emphasis(" small=3, ", mixed)
    assert factors == {"small": 3.0}
    before, after = group_weights(mixed), group_weights(mixed, factors)
    small = np.array([e.group == "small" for e in mixed])
    assert after.sum() == pytest.approx(1)
    odds = [chances[small].sum() / chances[~small].sum() for chances in (before, after)]
    assert odds[1] == pytest.approx(3 * odds[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiny=2", r"must be NAME=FACTOR; there are the names large, small\."),
        ("small", "must be NAME=FACTOR"),
        ("small=", "a number above 0"),
        ("small=much", "a number above 0"),
        ("small=-1", "a number above 0"),
        ("small=nan", "a number above 0"),
        ("large=1,small=inf", "a number above 0"),
    ],
)
def test_an_emphasis_that_cannot_be_meant_is_refused(mixed, text, words):
    with pytest.raises(OptionError, match=words):
        read_emphasis(text, mixed)


def test_the_first_images_to_validate_on_come_from_all_groups(mixed):
    ordered = spread(mixed)
    assert [e.group for e in ordered] == ["large", "small", "large", *["small"] * 7]
    assert sorted(map(id, ordered)) == sorted(map(id, mixed))


def test_the_hash_tells_a_changed_label_pixel_or_name_and_nothing_else(tmp_path):
    def hashed(folder, name="a", image=None, labels=None):
        image = picture() if image is None else image
        data = write(tmp_path / folder, {name: (image, square() if labels is None else labels)})
        return data_hash(load_examples([data], "train"))

    labels, image = square(), picture()
    labels[20, 20] = 7
    image[0, 0] ^= 128
    same = hashed("first"), hashed("again")
    assert same[0] == same[1]
    others = [hashed("l", labels=labels), hashed("i", image=image), hashed("n", name="b")]
    assert len({same[0], *others}) == 4


def test_a_stack_gives_slices_along_all_three_axes_where_there_are_objects(tmp_path):
    stack = np.zeros((12, 16, 20), np.uint16)
    stack[4:9, 5:12, 6:15] = 3
    image = (stack * 40 + 5).astype(np.uint8)
    data = tmp_path / "stack"
    for part, values in (("images", image), ("labels", stack)):
        (data / part).mkdir(parents=True)
        tifffile.imwrite(data / part / "train_a.tif", values)
    examples = load_examples([data], "train")
    shapes = {(e.name.split()[1][0], e.labels.shape) for e in examples}
    assert shapes == {("z", (16, 20)), ("y", (12, 20)), ("x", (12, 16))}
    for example in examples:
        axis, place = example.name.split()[1].split("=")
        np.testing.assert_array_equal(example.labels, stack.take(int(place), "zyx".index(axis)))


def test_boxes_without_labels_give_their_ellipses_and_no_certain_background(tmp_path):
    data = tmp_path / "boxes"
    (data / "images").mkdir(parents=True)
    tifffile.imwrite(data / "images" / "train_a.tif", picture((60, 80)))
    rows = ["name,class,xmin,ymin,xmax,ymax", "train_a,RBC,10,20,40,50", "train_a,RBC,60,5,61,9"]
    (data / "boxes.csv").write_text("\n".join(rows))
    (example,) = load_examples([data], "train")
    assert not example.complete
    assert np.unique(example.labels).tolist() == [0, 1], "a box without width is a mistake"
    inside = example.labels > 0
    assert inside.sum() == pytest.approx(np.pi * 15 * 15, rel=0.05)
    assert np.argwhere(inside).mean(0) == pytest.approx([35, 25], abs=0.6)


def test_images_that_may_only_be_measured_on_are_never_trained_on(tmp_path):
    index = "name,split,use\na,train,measure\nb,train,train\n"
    data = write(tmp_path / "d", {n: (picture(), square()) for n in "ab"}, index)
    assert names(load_examples([data], "train")) == ["b"]


def test_arrays_are_examples_like_those_of_a_folder(tmp_path):
    pairs = [(picture(seed=n), square(side=8 + n)) for n in range(11)]
    data = write(tmp_path / "arrays", {f"{n:02}": pair for n, pair in enumerate(pairs)})
    images, labels = zip(*pairs, strict=True)
    for read, given in zip(
        load_splits(data), load_splits(TrainingArrays(images, labels)), strict=True
    ):
        assert len(read) == len(given)
        for one, two in zip(read, given, strict=True):
            assert (one.group, one.complete, one.grey) == (two.group, two.complete, two.grey)
            np.testing.assert_array_equal(one.pyramid[0], two.pyramid[0])
            np.testing.assert_array_equal(one.labels, two.labels)


def test_arrays_may_be_colour_or_stacks_and_incomplete():
    colour, stack = picture((24, 32, 3)), picture((8, 24, 32))
    deep = np.repeat(square()[None], 8, 0)
    train, _ = load_splits(TrainingArrays([colour, stack], [square(), deep], complete=False))
    first, *slices = train
    assert not first.grey
    assert {one.labels.shape for one in slices} == {(24, 32), (8, 32), (8, 24)}
    assert not any(one.complete for one in train)


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        ([picture()], [], "There are 1 images but 0 label images"),
        ([picture()], [square() / 2], "labels of image 0 must be whole numbers"),
        ([picture()], [square((24, 31))], r"image 0: the image is \(24, 32\)"),
        ([], [], "no image marked 'train'"),
        ([picture()], [square() * 0], "labels of all training images are empty"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(images, labels, reason):
    with pytest.raises(InputError, match=reason):
        load_splits(TrainingArrays(images, labels))
