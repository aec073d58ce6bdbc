"""Names given a meaning in a real napari window, with real weights: by examples, and by CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred._napari.classes.annotations_to_code import example_lines, examples_of
from napari_kindred._napari.classes.layer import classes_of
from napari_kindred._napari.common.layers import KEY
from napari_kindred.images.samples import open_sample
from napari_kindred.models import download
from napari_kindred.models.download import CACHE_VARIABLE
from napari_kindred.results.recipe import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_kindred._napari.classes.examples_input import ExamplesInput
    from napari_kindred._napari.classes.widget import ClassesWidget

SLOW = 300_000
"""Milliseconds after which real weights on a busy machine have failed."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def widget(viewer: Any, movie: Any) -> ClassesWidget:
    """The widget as napari's menu opens it, asking for examples."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Classes by name")
    widget.classifier.kind.value = "examples"
    return widget


@pytest.fixture
def movie(viewer: Any) -> Any:
    """Two frames of the shipped movie of nuclei, 160 pixels square."""
    sample = open_sample("nuclei")
    truth = sample.truth[:2, :160, :160]
    viewer.add_labels(truth, name="truth", visible=False, axis_labels=tuple("tyx"))
    return viewer.add_image(sample.data[:2, :160, :160], name="nuclei", axis_labels=tuple("tyx"))


@pytest.fixture
def box(widget: ClassesWidget) -> ExamplesInput:
    return widget.classifier.examples


@pytest.fixture
def mark(viewer: Any, box: ExamplesInput) -> Callable[..., Any]:
    """Select a new layer with marks, and press the button that collects it."""

    def press(kind: str, data: Any, of: str, **options: Any) -> Any:
        layer = getattr(viewer, f"add_{kind}")(data, **options)
        viewer.layers.selection.active = layer
        box.name.value = of
        box.collect.native.click()
        return layer

    return press


def centres(truth: np.ndarray) -> np.ndarray:
    """Return (t, y, x) deep inside of every nucleus of the first frame."""
    from scipy.ndimage import distance_transform_edt as depth
    from skimage.measure import regionprops

    inner = [
        region.coords[depth(np.pad(region.image, 1))[1:-1, 1:-1][region.image].argmax()]
        for region in regionprops(truth[0])
        if region.area > 40
    ]
    return np.insert(np.array(inner), 0, 0, axis=1)


def listed(box: ExamplesInput) -> list[str]:
    return [box.list.item(row).text() for row in range(box.list.count())]


def test_what_is_collected_is_listed_and_names_are_written(
    viewer: Any, widget: ClassesWidget, box: ExamplesInput, mark: Any
) -> None:
    assert "There are no examples" in widget.about.value
    assert not widget.run.enabled
    mark("points", [[0, 20, 20], [1, 30, 30]], "nucleus", name="dots")
    around = [[[0, 40, 40], [0, 40, 60], [0, 60, 60], [0, 60, 40]]]
    mark("shapes", around, "background", name="frames")
    assert listed(box) == [
        "nucleus: 2 points in 2 frames of 'dots'",
        "background: 1 shape of 'frames'",
    ]
    assert widget.names.names == ("nucleus",)
    assert widget.run.enabled
    box.list.setCurrentRow(0)
    box.remove.native.click()
    assert listed(box) == ["background: 1 shape of 'frames'"]
    assert not widget.run.enabled
    assert "no examples of 'nucleus'" in widget.about.value


@pytest.mark.parametrize(
    ("kind", "data", "name", "said"),
    [
        ("points", [[0, 20, 200]], "nucleus", r"(0, 20, 200) is outside of 'nuclei'"),
        ("points", np.zeros((0, 3)), "nucleus", "nothing to collect"),
        ("points", [[0, 20, 20]], "", "Enter the class of these annotations"),
        ("points", [[0, 20, 20]], "?!", "no name of a class"),
        ("image", np.zeros((2, 160, 160)), "nucleus", "Select the Points, Shapes or Labels"),
    ],
)
def test_marks_that_cannot_be_used_are_one_sentence_and_nothing_changes(
    viewer: Any, box: ExamplesInput, mark: Any, kind: str, data: Any, name: str, said: str
) -> None:
    layer = mark(kind, data, name)
    before = np.asarray(data, float)
    assert said in box.about.value
    assert "color" in box.about.native.styleSheet()
    assert listed(box) == []
    np.testing.assert_array_equal(np.asarray(layer.data, float), before)


def test_what_was_collected_outlives_the_window(
    viewer: Any, widget: ClassesWidget, box: ExamplesInput, mark: Any
) -> None:
    from napari_kindred._napari.classes.widget import ClassesWidget

    mark("points", [[0, 20, 20]], "nucleus", name="dots")
    viewer.window.remove_dock_widget(widget.native)
    again = ClassesWidget(viewer)
    assert listed(again.classifier.examples) == ["nucleus: 1 point of 'dots'"]
    again.native.close()


def test_examples_taught_by_clicks_find_the_nuclei_and_the_code_does_the_same(
    viewer: Any,
    widget: ClassesWidget,
    box: ExamplesInput,
    mark: Any,
    run: Any,
    tmp_path: Path,
    until: Any,
) -> None:
    truth = viewer.layers["truth"].data
    mark("points", centres(truth), "nucleus")
    assert not box.save.enabled
    layer = run(timeout=SLOW)
    assert layer.name == "nuclei classes"
    for found, there in zip(layer.data > 0, truth > 0, strict=True):
        assert (found & there).sum() / (found | there).sum() > 0.6
    assert list(layer.features["name"]) == ["background", "nucleus"]
    space: dict[str, Any] = {"viewer": viewer}
    exec(widget.python(), space)  # noqa: S102  (what the user does with it)
    np.testing.assert_array_equal(space["labels"], layer.data)

    assert box.save.enabled
    widget.save_trained(path=tmp_path / "mine.kindred")
    widget.classifier.kind.value = "vocabulary"
    widget.classifier.vocabulary.take_file(tmp_path / "mine.kindred")
    until(lambda: widget.run.enabled)
    again = run(timeout=SLOW)
    np.testing.assert_array_equal(again.data, layer.data)
    assert "mine.kindred" in recipe_of(again.metadata[KEY]).to_python()

    widget.form.inputs["encoder"].value = "efficientnet"
    assert run(timeout=SLOW) is None
    assert "trained with" in widget.status.value
    spec = classes_of(again).vocabulary.spec
    assert spec.sha256[:12] in widget.status.value


def test_learning_is_measured_and_need_not_be_repeated(
    viewer: Any, widget: ClassesWidget, box: ExamplesInput, mark: Any, run: Any
) -> None:
    truth = viewer.layers["truth"].data
    mark("points", centres(truth), "nucleus")
    run(box.train, timeout=SLOW)
    assert widget.status.value.startswith("Trained nucleus on ")
    config = widget.check()
    assert box.trained(config) is not None
    assert widget.classifier.name_source(config).arguments() == {"vocabulary": box.trained(config)}
    widget.form.inputs["seed"].value = 3
    assert box.trained(widget.check()) is None


def test_the_code_of_examples_makes_the_same_examples(
    viewer: Any, box: ExamplesInput, mark: Any
) -> None:
    mark("points", [[0, 20.25, 20], [1, 30, 30.123456]], "a")
    mark("shapes", [[[0, 40, 40], [0, 40, 60], [0, 60, 60], [0, 60, 40]]], "a")
    mark("shapes", [[[0, 10, 10], [0, 10, 30], [0, 30, 10]]], "b", shape_type="polygon")
    painted = np.zeros((2, 160, 160), np.uint8)
    painted[0, 100:110, 100:120], painted[0, 5:25, 5:15] = 3, 5
    mark("labels", painted, "c", name="painted")
    space: dict[str, Any] = {"viewer": viewer}
    exec("\n".join(["import napari_kindred as nk", *example_lines(box.annotations)]), space)  # noqa: S102
    made = examples_of(box.annotations)
    assert len(made) == len(space["examples"]) == 2
    for one, other in zip(made, space["examples"], strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.axes == other.axes == "YX"
        for marks in ("points", "boxes"):
            mine, theirs = getattr(one, marks), getattr(other, marks)
            assert list(mine) == list(theirs)
            for name in mine:
                np.testing.assert_array_equal(mine[name], np.asarray(theirs[name]))
        assert dict(one.label_names) == dict(other.label_names)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert set(made[0].label_names.values()) == {"b", "c"}
    assert made[0].label_names[int(made[0].labels[105, 105])] == "c"
    assert made[0].label_names[int(made[0].labels[15, 20])] == "b"


def test_a_clip_that_is_not_on_this_machine_is_one_sentence_and_no_layer(
    viewer: Any, widget: ClassesWidget, run: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
    widget.classifier.kind.value = "clip"
    widget.names.names = ("nucleus",)
    until(lambda: widget.run.enabled, timeout=SLOW)
    assert "Downloaded on first use" in widget.classifier.clip.about.value
    before = [layer.name for layer in viewer.layers]
    assert run(timeout=SLOW) is None
    assert "could not be downloaded (no network)" in widget.status.value
    assert [layer.name for layer in viewer.layers] == before
