"""Classes painted in one layer: each stroke shows what is in view, and Run takes the strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred._napari.classes.annotations_to_code import example_lines

if TYPE_CHECKING:
    from napari_kindred._napari.classes.live import LiveClasses
    from napari_kindred._napari.classes.widget import ClassesWidget

SLOW = 300_000
"""Milliseconds after which a busy machine has failed."""


def halves() -> np.ndarray:
    """Two frames, dark on the left and bright on the right, in the second the other way round."""
    random = np.random.default_rng(0)
    one = np.where(np.arange(96) < 48, 60, 180) + random.normal(0, 4, (96, 96))
    return np.stack([one, one[:, ::-1]]).astype(np.uint8)


@pytest.fixture
def widget(viewer: Any, qtbot: Any) -> ClassesWidget:
    """The widget as napari's menu opens it, on two frames, asking for examples."""
    viewer.add_image(halves(), name="halves", axis_labels=tuple("tyx"))
    viewer.dims.set_point(0, 0)
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Classes by name")
    vocabulary = widget.classifier.vocabulary
    qtbot.waitUntil(lambda: vocabulary.vocabulary is not None, timeout=SLOW)  # read in a thread
    widget.classifier.kind.value = "examples"
    return widget


@pytest.fixture
def live(widget: ClassesWidget) -> LiveClasses:
    widget.names.names = ("dark", "bright")
    widget.classifier.examples.paint.native.click()
    found = widget.classifier.examples.live
    assert found is not None
    return found


def stroke(live: LiveClasses, frame: int, column: int, number: int) -> None:
    """Paint from top to bottom, as with the mouse."""
    layer = live.strokes
    assert layer is not None
    with layer.block_history():
        for row in range(20, 76, 2):
            layer.paint((frame, row, column), number)


def test_names_come_first(widget: ClassesWidget) -> None:
    box = widget.classifier.examples
    box.paint.native.click()
    assert not box.paint.native.isChecked()
    assert "Write the names of the classes first" in box.about.value


def test_each_stroke_shows_what_it_means_in_every_frame(
    viewer: Any, qtbot: Any, widget: ClassesWidget, live: LiveClasses
) -> None:
    box = widget.classifier.examples
    assert "1 dark, 2 bright, 3 background" in box.about.value
    stroke(live, 0, 10, 1)
    qtbot.waitUntil(lambda: "Only one class is marked" in box.about.value, timeout=SLOW)
    stroke(live, 0, 80, 2)
    shown = live.shown
    assert shown is not None
    qtbot.waitUntil(lambda: bool(np.asarray(shown.data[0]).any()), timeout=SLOW)
    truth = np.broadcast_to(np.where(np.arange(96) < 48, 1, 2), (96, 96))
    assert (shown.data[0] == truth).mean() > 0.97
    viewer.dims.set_point(0, 1)
    qtbot.waitUntil(lambda: bool(np.asarray(shown.data[1]).any()), timeout=SLOW)
    assert (shown.data[1] == truth[:, ::-1]).mean() > 0.97
    live.strokes.undo()  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: "Only one class is marked" in box.about.value, timeout=SLOW)


def test_what_is_painted_is_what_run_and_code_take(
    viewer: Any, widget: ClassesWidget, live: LiveClasses
) -> None:
    stroke(live, 0, 10, 1)
    stroke(live, 0, 80, 2)
    stroke(live, 0, 60, 3)
    box = widget.classifier.examples
    assert [(one.name, len(one)) for one in box.annotations] == [
        ("dark", 1),
        ("bright", 1),
        ("background", 1),
    ]
    assert widget.run.enabled
    assert widget.form.config(threshold="auto").proposals == "pixels"
    made: dict[str, Any] = {"viewer": viewer, "image": viewer.layers["halves"].data}
    exec("import napari_kindred as nk\n" + "\n".join(example_lines(box.annotations)), made)  # noqa: S102
    (example,) = made["examples"]
    names = {name: int((example.labels == number).sum()) for number, name in
             example.label_names.items()}  # fmt: skip
    painted = np.asarray(live.strokes.data[0])  # type: ignore[union-attr]
    assert names == {
        name: int((painted == number).sum())
        for number, name in ((1, "dark"), (2, "bright"), (3, "background"))
    }
    box.paint.native.click()
    assert [layer.name for layer in viewer.layers] == ["halves", "halves strokes"]
    assert len(box.annotations) == 3
    viewer.layers.remove("halves strokes")
    assert not box.annotations
