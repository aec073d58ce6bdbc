"""Correcting objects with the mouse: what is added, split, merged and deleted, and taken back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.entities.preview import NAME
from napari_kindred._napari.results.layer_storage import table_of
from napari_kindred.entities.click import Outline

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kindred._napari.entities.widget import EntitiesWidget
    from napari_kindred.entities.regions import Prompt

WIDGET = "entities_widget"


def square(prompt: Prompt, side: int = 8) -> list[Outline]:
    """Stand in for the network: squares of two sizes around the first click, or the box."""
    if prompt.box is not None:
        y0, x0, y1, x1 = (round(at) for at in prompt.box)
        return [Outline(np.ones((y1 - y0, x1 - x0), bool), (y0, x0), 1.0)]
    y, x = (round(at) for at in prompt.inside[0])
    side += 4 * len(prompt.inside[1:]) - 4 * len(prompt.outside)
    return [Outline(np.ones((n, n), bool), (y - n // 2, x - n // 2), 1.0) for n in (side, side + 8)]


@pytest.fixture
def widget(entities_widget: EntitiesWidget) -> EntitiesWidget:
    clicks: Any = entities_widget.correct_panel.clicks
    clicks._outlines = lambda key, file, plane, entry, prompt, labels: square(prompt)
    clicks._networks["here"] = None
    return entities_widget


@pytest.fixture
def layer(
    widget: EntitiesWidget, viewer: Any, movie: np.ndarray, until: Callable[..., None]
) -> Any:
    """The result on the movie of discs; frame 1 is shown."""
    viewer.add_image(movie, name="cells", axis_labels=("t", "y", "x"))
    widget.start()
    until(lambda: not widget.busy and widget.result is not None)
    viewer.dims.set_point(0, 1)
    return widget.result


def drag(widget: EntitiesWidget, *points: tuple[float, float], shift: bool = False) -> None:
    """Press at the first point (y, x) of frame 1, move along the others, release."""
    position = [(1.0, *point) for point in points]
    event = SimpleNamespace(
        type="mouse_press",
        button=1,
        modifiers=("Shift",) if shift else (),
        position=position[0],
    )
    steps = widget.correct_panel._dragged(None, event)
    next(steps, None)
    event.type = "mouse_move"
    for event.position in position[1:]:
        next(steps, None)
    event.type = "mouse_release"
    next(steps, None)


def areas(layer: Any, frame: int = 1) -> dict[int, int]:
    ids, counts = np.unique(np.asarray(layer.data)[frame], return_counts=True)
    return {int(one): int(n) for one, n in zip(ids, counts, strict=True) if one}


def in_table(layer: Any) -> dict[int, float]:
    """Areas of the objects of frame 1 by the table."""
    rows = table_of(layer.features)
    rows = rows[rows["frame"] == 1]
    return {int(one): int(area) for one, area in zip(rows["index"], rows["area"], strict=True)}


def test_a_click_adds_an_object_and_the_table_has_it_at_once(
    widget: EntitiesWidget, layer: Any, until: Callable[..., None]
) -> None:
    before = areas(layer)
    new = int(np.asarray(layer.data).max()) + 1
    widget.correct_panel.choose("add")
    drag(widget, (48, 42))
    until(lambda: new in areas(layer))
    assert areas(layer) == {**before, new: 64}
    assert in_table(layer) == areas(layer)
    drag(widget, (48, 52), shift=True)  # beside it: more
    until(lambda: areas(layer)[new] == 144)
    drag(widget, (48, 42), shift=True)  # inside of it: less
    until(lambda: areas(layer)[new] == 64)
    widget.correct_panel.tools.next_outline()
    assert areas(layer)[new] == 256
    for _ in range(4):
        layer.undo()
    assert areas(layer) == before


def test_a_box_adds_what_it_holds_and_neighbours_keep_their_pixels(
    widget: EntitiesWidget, layer: Any, until: Callable[..., None]
) -> None:
    before = areas(layer)
    new = int(np.asarray(layer.data).max()) + 1
    widget.correct_panel.choose("add")
    drag(widget, (35, 20), (40, 30), (59, 49))
    until(lambda: new in areas(layer))
    after = areas(layer)
    assert {one: after[one] for one in before} == before
    assert after[new] <= 25 * 30


@pytest.mark.parametrize("tool", ["split by a line", "split by clicks"])
def test_an_object_is_split(widget: EntitiesWidget, layer: Any, tool: str) -> None:
    before = areas(layer)
    here = int(layer.data[1, 24, 66])
    widget.correct_panel.choose("split")
    if tool == "split by a line":
        drag(widget, (8, 66), (40, 66))
    else:
        drag(widget, (24, 60))
        drag(widget, (24, 72))
    after = areas(layer)
    (new,) = set(after) - set(before)
    assert after[here] + after[new] == before[here]
    assert min(after[here], after[new]) > 0.35 * before[here]
    assert in_table(layer) == after
    layer.undo()
    assert areas(layer) == before


def test_objects_are_merged_deleted_and_outlined(widget: EntitiesWidget, layer: Any) -> None:
    before = areas(layer)
    one, other = int(layer.data[1, 24, 22]), int(layer.data[1, 24, 66])
    panel = widget.correct_panel
    panel.choose("merge")
    drag(widget, (24, 22), (24, 66))
    merged = areas(layer)
    assert len(merged) == len(before) - 1
    assert merged[min(one, other)] + merged.get(max(one, other), 0) == before[one] + before[other]
    layer.undo()
    panel.choose("delete")
    drag(widget, (24, 22))
    assert one not in areas(layer)
    assert one not in in_table(layer)
    panel.choose("outline")
    drag(widget, (44, 40), (44, 49), (53, 49), (53, 40))
    assert sum(areas(layer).values()) == sum(before.values()) - before[one] + 100


def test_a_wrong_click_says_so_and_changes_nothing(widget: EntitiesWidget, layer: Any) -> None:
    before = np.array(layer.data)
    for tool, points in (
        ("delete", [(48, 42)]),
        ("merge", [(48, 40), (48, 50)]),
        ("split", [(48, 40), (48, 50)]),
        ("split", [(-30, 40)]),
        ("add", [(-30, 40)]),
        ("outline", [(48, 42)]),
    ):
        widget.correct_panel.choose(None)
        widget.correct_panel.choose(tool)
        drag(widget, *points)
        assert str(widget.status.value).endswith(".")
    np.testing.assert_array_equal(layer.data, before)


def test_tools_are_off_without_a_result_and_leave_with_another_layer(
    widget: EntitiesWidget, viewer: Any
) -> None:
    panel = widget.correct_panel
    assert not panel.buttons["add"].enabled
    panel.choose("add")
    assert panel.tool is None
    layer = viewer.add_labels(
        np.ones((20, 20), np.int32), metadata={KEY: {"method": "entities", "axes": "YX"}}
    )
    panel.choose("split")
    assert panel.tool == "split"
    assert not layer.mouse_pan
    viewer.add_image(np.zeros((20, 20)))
    assert panel.tool is None
    assert layer.mouse_pan


def test_the_outline_under_the_mouse_is_shown_and_goes(
    widget: EntitiesWidget, layer: Any, viewer: Any, until: Callable[..., None]
) -> None:
    panel = widget.correct_panel
    panel.choose("add")
    panel._moved(layer, SimpleNamespace(position=(1.0, 48.0, 42.0)))
    until(lambda: NAME in viewer.layers)
    assert viewer.layers.selection.active is layer
    line = viewer.layers[NAME].data[0]
    assert line[:, 1].min() == pytest.approx(48 - 4 - 0.5)
    assert np.ptp(line[:, 2]) == pytest.approx(8)
    panel.choose(None)
    assert NAME not in viewer.layers
