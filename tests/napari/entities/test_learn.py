"""Learning from corrections in the window, with a stand-in for the training."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_kindred._napari.entities.learn_panel import ALL, NUMBERS, PAINTED, RESULTS
from napari_kindred._napari.entities.learn_view import read_numbers
from napari_kindred._napari.entities.weights_input import BROWSE, SHIPPED
from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Metrics, Progress
from napari_kindred.core.settings import weights_dir
from napari_kindred.entities.checkpoint import save_weights
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.learning import fine_tune as module
from napari_kindred.entities.learning.files import CARD, FineTuned, free_file
from napari_kindred.entities.network import EntityNetwork

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"


class Learning:
    """Learns nothing, with the events of the real job, and writes a file with a card."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.better = self.closed = False

    def __call__(
        self, images: Any, labels: Any, checked: Any, weights: str, **more: Any
    ) -> Generator[Any, None, FineTuned]:
        self.asked = {"weights": weights, **more, "images": [], "labels": [], "masks": []}
        for stack, own, frames in zip(images, labels, checked, strict=True):
            assert own.shape == stack.output_shape
            for index, mask in frames.items():
                self.asked["images"].append(stack.read(index).pixels)
                self.asked["labels"].append(own[index])
                self.asked["masks"].append(mask)
        scores = {"before": {"AP50": 0.4, "mSA": 0.2}, "after": {"AP50": 0.6, "mSA": 0.3}}
        control = {when: {"AP50": 0.8, "mSA": 0.5} for when in scores}
        card = {
            "name": more["name"] or "made of number and date",
            "start": "kindred-entities" if weights == SHIPPED else Path(weights).stem,
            "scores": {"held_back": scores, "control": control},
        }
        try:
            yield Metrics(0, 0.0, scores["before"])
            yield Metrics(1, 0.1, {"loss": 1.25})
            yield Progress(0.5, 1, "learning")
            while not self.gate.wait(0.01):
                yield Progress(0.5, 1, "learning")
            yield Metrics(2, 0.1, {"loss": 0.75})
            yield Metrics(2, 0.1, scores["after"])
            yield Progress(0.9, 1, "learning")
        except GeneratorExit:
            self.closed = True
            raise
        if not self.better:
            return FineTuned(weights, False, card)
        path = free_file(card["name"])
        write(path, card)
        return FineTuned(str(path), True, card)


def write(path: Path, card: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = EntityNetwork(NetworkConfig(encoder="test_resnet", width=16))
    save_weights(network, path, {CARD: card})


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Learning:
    monkeypatch.setenv("NAPARI_KINDRED_WEIGHTS", str(tmp_path / "weights"))
    stand_in = Learning()
    monkeypatch.setattr(module, "iter_fine_tune", stand_in)
    return stand_in


@pytest.fixture
def result(
    learning: Learning, widget: EntitiesWidget, opened_movie: Any, run: Any, labels_layers: Any
) -> Any:
    """The result of a run on the movie of discs; the form for learning is open."""
    run()
    widget.learn_panel.open.native.setChecked(True)
    (layer,) = labels_layers()
    return layer


def press(widget: EntitiesWidget, until: Any) -> None:
    widget.learn_panel.learn.native.click()
    until(lambda: not widget.busy)


def test_the_frame_shown_is_learnt_from_and_the_weights_are_taken(
    result: Any, widget: EntitiesWidget, learning: Learning, until: Any, viewer: Any
) -> None:
    learning.better = True
    viewer.dims.set_current_step(0, 2)
    result.data[2, :5, :5] = 77
    widget.learn_panel.name.value = "Discs"
    widget.learn_panel.minutes.value = 1.5
    press(widget, until)
    asked = learning.asked
    (labels,), (pixels,) = asked["labels"], asked["images"]
    np.testing.assert_array_equal(labels, result.data[2])
    np.testing.assert_array_equal(pixels[..., 0], viewer.layers["cells"].data[2])
    assert (asked["masks"], asked["weights"], asked["name"]) == ([None], SHIPPED, "Discs")
    assert asked["config"].minutes == 1.5
    text = widget.status.value
    assert "objects held back 0.40 → 0.60" in text
    assert "control set 0.80 → 0.80" in text
    assert "Kept as 'Discs'." in text
    assert Path(widget.weights.value).parent == weights_dir()
    assert widget.weights.current_choice == "Discs"
    assert widget.config().weights == widget.weights.value
    assert widget.result is not None


def test_what_is_no_better_leaves_the_weights_as_they_were(
    result: Any, widget: EntitiesWidget, learning: Learning, until: Any
) -> None:
    press(widget, until)
    assert "Not kept" in widget.status.value
    assert widget.weights.value == SHIPPED


def test_progress_shows_loss_and_score_and_cancel_stops(
    result: Any, widget: EntitiesWidget, learning: Learning, until: Any
) -> None:
    learning.gate.clear()
    widget.learn_panel.learn.native.click()
    until(lambda: "before" in widget.status.value)
    assert "Loss 1.25 → 1.25." in widget.status.value
    assert "objects held back 0.40 before" in widget.status.value
    assert not widget.learn_panel.learn.enabled
    assert not widget.run.enabled
    widget.cancel.native.click()
    until(lambda: not widget.busy)
    assert "Cancelled. The weights are as before." in widget.status.value
    until(lambda: learning.closed)
    assert widget.learn_panel.learn.enabled
    assert widget.run.enabled


def test_going_on_begins_with_the_weights_that_are_chosen_and_undo_deletes_them(
    result: Any,
    widget: EntitiesWidget,
    learning: Learning,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learning.better = True
    widget.learn_panel.name.value = "first"
    press(widget, until)
    first = widget.weights.value
    widget.learn_panel.name.value = "second"
    press(widget, until)
    second = widget.weights.value
    assert learning.asked["weights"] == first != second
    answers = [QMessageBox.StandardButton.No, *[QMessageBox.StandardButton.Yes] * 2]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    widget.learn_panel.delete.native.click()
    assert widget.weights.value == second
    for value in (first, SHIPPED):
        widget.learn_panel.delete.native.click()
        assert widget.weights.value == value
    assert not list(weights_dir().iterdir())
    assert not widget.learn_panel.delete.enabled


def test_frames_by_number_painted_with_labels_and_of_all_results(
    result: Any, widget: EntitiesWidget, learning: Learning, until: Any, viewer: Any
) -> None:
    from napari_kindred._napari.results.painting import settle

    panel = widget.learn_panel
    panel.checked.value = NUMBERS
    panel.numbers.value = "0-1, 3"
    assert panel.numbers.native.isVisibleTo(widget.native)
    press(widget, until)
    assert len(learning.asked["labels"]) == 3
    panel.checked.value = ALL
    result.data[1] = 0
    press(widget, until)
    assert len(learning.asked["labels"]) == 3
    viewer.dims.set_current_step(0, 3)
    viewer.layers.selection.active = result
    result.selected_label = 50
    result.paint((3, 90, 120), 50)
    settle(result)
    for choice in (PAINTED, RESULTS):
        panel.checked.value = choice
        press(widget, until)
        (labels,) = learning.asked["labels"]
        np.testing.assert_array_equal(labels, result.data[3])


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_inside_drawn_shapes_counts_where_they_were_drawn(
    result: Any, widget: EntitiesWidget, learning: Learning, until: Any, viewer: Any, kind: str
) -> None:
    """The image's pixel is half a unit, so that shapes lie at half the labels' coordinates."""
    for layer in (viewer.layers["cells"], result):
        layer.scale = (1, 0.5, 0.5)
    box = np.array([[10, 20], [10, 40], [40, 40], [40, 20]]) / 2
    drawn = viewer.add_shapes(ndim=3, name="checked")
    drawn.add(np.column_stack([np.full(4, 2.0), box]), shape_type=kind)
    drawn.add(np.column_stack([np.full(4, 1.0), box[[0, 2]].repeat(2, 0)]), shape_type="path")
    viewer.layers.selection.active = drawn
    panel = widget.learn_panel
    panel.checked.value = str(drawn.unique_id)
    press(widget, until)
    (mask,) = learning.asked["masks"]
    np.testing.assert_array_equal(learning.asked["labels"][0], result.data[2])
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((10, 40), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((20, 40), abs=1)
    area = 600 * (np.pi / 4 if kind == "ellipse" else 1)
    assert mask.sum() == pytest.approx(area, rel=0.1)


def test_nothing_drawn_and_frames_that_are_not_there_are_told(
    result: Any, widget: EntitiesWidget, learning: Learning, viewer: Any
) -> None:
    panel = widget.learn_panel
    panel.checked.value = NUMBERS
    for text, sentence in (("0-9", "no frame 4"), ("a", "such as 0-3, 7")):
        panel.numbers.value = text
        panel.learn.native.click()
        assert sentence in widget.status.value
    drawn = viewer.add_shapes(name="checked")
    panel.checked.value = str(drawn.unique_id)
    panel.learn.native.click()
    assert "Draw around what you have checked" in widget.status.value
    assert not learning.asked


def test_labels_of_the_users_own_are_learnt_from_with_the_chosen_image(
    learning: Learning, widget: EntitiesWidget, viewer: Any, until: Any
) -> None:
    assert not widget.learn_panel.learn.enabled
    colour = np.zeros((20, 30, 3), np.uint8) + np.arange(30, dtype=np.uint8)[:, None] * 5
    viewer.add_image(colour, rgb=True)
    mine = viewer.add_labels(np.eye(20, 30, dtype=int), name="mine")
    viewer.layers.selection.active = mine
    press(widget, until)
    assert learning.asked["images"][0].shape == (20, 30, 3)
    np.testing.assert_array_equal(learning.asked["labels"][0], mine.data)
    other = viewer.add_labels(np.eye(9, dtype=int), name="other")
    viewer.layers.selection.active = other
    widget.learn_panel.learn.native.click()
    assert "do not have the shape of their image" in widget.status.value


def test_weights_are_browsed_for_kept_in_the_list_and_saved(
    learning: Learning,
    widget: EntitiesWidget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path / "mine.safetensors", {"name": "My cells"})
    answers = [("", ""), (str(tmp_path / "mine.safetensors"), "")]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: answers.pop(0))
    widget.weights.native.setCurrentText(BROWSE)
    assert widget.weights.value == widget.config().weights == SHIPPED
    widget.weights.native.setCurrentText(BROWSE)
    assert widget.weights.value == widget.config().weights == str(tmp_path / "mine.safetensors")
    assert widget.weights.current_choice == "My cells"
    widget.take_defaults()
    assert widget.weights.value == SHIPPED
    widget.restore({"weights": str(tmp_path / "gone.safetensors")})
    assert widget.weights.current_choice == "gone"


@pytest.mark.parametrize(("text", "numbers"), [("3", [3]), ("0-2, 5,1", [0, 1, 2, 5])])
def test_numbers_are_read(text: str, numbers: list[int]) -> None:
    assert read_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "1-", "-2", "x", "1;2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="such as 0-3, 7"):
        read_numbers(text)
