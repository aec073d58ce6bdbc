"""Marks in layers become places in an image's pixels, wherever the layers lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.ndimage import affine_transform

from napari_kindred._napari.classes.annotations import Target, collect, merge_examples
from napari_kindred.core.errors import InputError


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def target_of(viewer: ViewerModel, layer: Any, axes: str) -> Target:
    return Target(layer, layer.data, axes, tuple(viewer.dims.point))


def test_points_keep_their_place_where_layers_are_scaled_and_moved(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((40, 60)), scale=(0.5, 0.25), translate=(100, 200))
    where = np.array([[0, 0], [10, 20.5], [39, 59]])
    points = viewer.add_points(where * (0.5, 0.25) + (100, 200))
    found = collect(points, target_of(viewer, image, "YX"), "cell")
    np.testing.assert_allclose(found.frames[()].points, where, atol=1e-3)
    assert found.describe() == "cell: 3 points of 'Points'"


def test_points_of_a_movie_go_to_their_frames(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((5, 2, 40, 60)), name="movie")
    points = viewer.add_points([[0, 1, 3, 4], [3, 0, 5, 6], [3, 1, 7, 8]])
    found = collect(points, target_of(viewer, image, "TCYX"), "cell")
    assert {index: marks.points for index, marks in found.frames.items()} == {
        (0,): [(3, 4)],
        (3,): [(5, 6), (7, 8)],
    }
    assert "in 2 frames" in found.describe()


def test_points_without_time_belong_to_the_frame_that_is_shown(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((5, 40, 60)))
    points = viewer.add_points([[3, 4]])
    viewer.dims.set_current_step(0, 2)
    assert list(collect(points, target_of(viewer, image, "TYX"), "cell").frames) == [(2,)]


@pytest.mark.parametrize("where", [(40, 3), (-1, 3), (3, 60), (3, -0.6)])
def test_a_mark_outside_the_image_is_named_and_nothing_is_collected(
    viewer: ViewerModel, where: tuple[float, float]
) -> None:
    image = viewer.add_image(np.zeros((40, 60)), name="smear")
    points = viewer.add_points([[3, 4], where])
    with pytest.raises(InputError, match=r"outside of 'smear' with 40 × 60 pixels"):
        collect(points, target_of(viewer, image, "YX"), "cell")


def test_a_mark_in_a_frame_that_there_is_not_is_named(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((5, 40, 60)))
    points = viewer.add_points([[5, 3, 4]])
    with pytest.raises(InputError, match=r"\(5, 3, 4\)"):
        collect(points, target_of(viewer, image, "TYX"), "cell")


def test_a_rectangle_is_a_box_of_whole_pixels_and_others_are_outlines(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((40, 60)))
    shapes = viewer.add_shapes()
    # Around the pixels of rows 2 to 4 and columns 10 to 19.
    shapes.add_rectangles([[1.5, 9.5], [4.5, 19.5]])
    shapes.add_ellipses([[20, 20], [20, 40], [30, 40], [30, 20]])
    shapes.add_polygons([[1, 1], [1, 9], [9, 1]])
    shapes.add_rectangles([[20, 50], [25, 55], [20, 59], [15, 55]])
    marks = collect(shapes, target_of(viewer, image, "YX"), "cell").frames[()]
    assert marks.boxes == [(2, 10, 5, 20)]
    ellipse, triangle, tilted = marks.outlines
    assert len(triangle) == 3
    assert len(tilted) == 4
    y, x = (ellipse - (25, 30)).T
    np.testing.assert_allclose((y / 5) ** 2 + (x / 10) ** 2, 1, atol=1e-3)


def test_a_line_encloses_nothing(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((40, 60)))
    shapes = viewer.add_shapes([[[1, 1], [9, 9]]], shape_type="line")
    with pytest.raises(InputError, match="line in 'Shapes' encloses nothing"):
        collect(shapes, target_of(viewer, image, "YX"), "cell")


def test_labels_of_the_shown_frame_are_taken_and_only_what_is_seen(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((5, 40, 60)))
    painted = np.zeros((5, 40, 60), np.uint16)
    painted[1, 3:6, 3:9], painted[1, 20:30, 20:30], painted[2, :5, :5] = 4, 7, 9
    labels = viewer.add_labels(painted, name="Labels")
    viewer.dims.set_current_step(0, 1)
    found = collect(labels, target_of(viewer, image, "TYX"), "cell")
    np.testing.assert_array_equal(found.frames[(1,)].labels, painted[1])
    assert found.describe() == "cell: 2 painted objects of 'Labels'"
    labels.selected_label, labels.show_selected_label = 7, True
    seen = collect(labels, target_of(viewer, image, "TYX"), "cell").frames[(1,)].labels
    np.testing.assert_array_equal(seen, np.where(painted[1] == 7, 7, 0))


def test_labels_that_lie_elsewhere_and_are_coarser_cover_the_same_place(
    viewer: ViewerModel,
) -> None:
    image = viewer.add_image(np.zeros((40, 60)), scale=(0.5, 0.5), translate=(3, 5))
    painted = np.zeros((12, 20), np.int32)
    painted[2:4, 5:8] = 1
    # Four pixels of the image to one of the labels, whose first lies on the image's tenth.
    labels = viewer.add_labels(painted, scale=(1, 1), translate=(8.25, 10.25))
    marks = collect(labels, target_of(viewer, image, "YX"), "cell").frames[()]
    expected = np.zeros((40, 60), np.int32)
    expected[10:34, 10:50] = np.repeat(np.repeat(painted, 2, 0), 2, 1)
    np.testing.assert_array_equal(marks.labels, expected)
    space: dict[str, Any] = {"viewer": viewer, "np": np, "affine_transform": affine_transform}
    np.testing.assert_array_equal(eval(marks.code, space), expected)  # noqa: S307


@pytest.mark.parametrize("kind", ["points", "shapes", "labels"])
def test_an_empty_layer_has_nothing_to_collect(viewer: ViewerModel, kind: str) -> None:
    image = viewer.add_image(np.zeros((40, 60)))
    data = {"points": np.zeros((0, 2)), "shapes": None, "labels": np.zeros((40, 60), int)}[kind]
    layer = getattr(viewer, f"add_{kind}")(data)
    with pytest.raises(InputError, match=f"to collect in '{layer.name}'; annotate a cell"):
        collect(layer, target_of(viewer, image, "YX"), "cell")


@pytest.mark.parametrize("layer", [None, "image"])
def test_other_layers_hold_no_marks(viewer: ViewerModel, layer: Any) -> None:
    image = viewer.add_image(np.zeros((40, 60)))
    with pytest.raises(InputError, match="Select the Points, Shapes or Labels layer"):
        collect(image if layer else None, target_of(viewer, image, "YX"), "cell")


def test_a_layer_collected_again_takes_the_place_of_before(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((40, 60)))
    points = viewer.add_points([[3, 4]])
    target = target_of(viewer, image, "YX")
    kept = merge_examples((), collect(points, target, "cell"))
    points.add([[5, 6]])
    kept = merge_examples(kept, collect(points, target, "Cell"))
    assert [len(item) for item in kept] == [2]
    kept = merge_examples(kept, collect(points, target, "rest"))
    assert [item.name for item in kept] == ["Cell", "rest"]
