"""Take the pictures of the real window that the docs show.

    xvfb-run -a python docs/make_pictures.py [IMAGE ...] [--movie FOLDER] [--smear IMAGE]

Opens a shipped sample, presses Run in the dock widget, waits for the result and saves the window;
then the same for every image named; then the same with the widget for clusters, for the sample
and for a folder with the frames of a movie; then with the widget for classes, for a blood smear;
then two results are compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

PLUGIN = "napari-kindred"
MOST_BYTES = 400_000
MOST_BYTES_OF_CLUSTERS = 200_000
MOST_BYTES_OF_PHOTOS = 700_000
WIDGETS = ("entities", "volumes", "clusters", "classes", "results")
BLOOD = ("red blood cell", "white blood cell", "platelet")


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Let the window live until something is so."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end and not condition():
            raise SystemExit(f"nothing happened in {seconds:.0f} s")


def settle(seconds: float = 0.5) -> None:
    """Let pending drawing happen."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end, seconds + 5)


def open_viewer(
    size: tuple[int, int], weights: str | None = None, name: str = "Cells and nuclei"
) -> tuple[Viewer, Any]:
    """Open napari with a widget, at the size of a small screen."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*size)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    if weights:
        widget.form.inputs["weights"].value = weights
    settle()
    return viewer, widget


def segment(widget: Any, seconds: float = 600) -> None:
    """Press Run and wait for the end."""
    widget.run.native.click()
    wait(lambda: widget.run.enabled, seconds)
    settle()


def save(viewer: Viewer, path: Path, most: int = MOST_BYTES, seconds: float = 1.0) -> None:
    """Save the window as a PNG, small enough for a repository."""
    from PIL import Image

    settle(seconds)
    picture = Image.fromarray(np.asarray(viewer.window.screenshot(canvas_only=False, flash=False)))
    picture = picture.convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    colours = 256
    while path.stat().st_size > most and colours > 16:
        colours //= 2
        picture.quantize(colours).save(path, optimize=True)
    print(f"{path}: {picture.width} × {picture.height}, {path.stat().st_size // 1000} kB")


def sample_picture(out: Path, viewer: Viewer, widget: Any) -> None:
    """Save the sample movie half done, and done."""
    viewer.open_sample(PLUGIN, "nuclei")
    viewer.dims.set_current_step(0, 2)
    settle()
    widget.run.native.click()
    wait(lambda: widget.progress.value > 450 or widget.run.enabled, 600)
    save(viewer, out / "entities-running.png")
    wait(lambda: widget.run.enabled, 600)
    viewer.dims.set_current_step(0, 8)
    contours(viewer)
    save(viewer, out / "entities-nuclei.png")


def volume_picture(out: Path, viewer: Viewer, widget: Any) -> None:
    """Save the sample stack in the 3-D view."""
    viewer.open_sample(PLUGIN, "stack")
    viewer.layers["stack"].contrast_limits = (0, 9000)
    segment(widget)
    print(widget.status.value)
    viewer.dims.ndisplay = 3
    viewer.scene.camera.angles = (-20, 35, 60)
    viewer.reset_view(margin=0.05)
    viewer.scene.camera.angles = (-20, 35, 60)
    save(viewer, out / "volumes.png", MOST_BYTES_OF_CLUSTERS)


def image_picture(path: Path, out: Path, viewer: Viewer, widget: Any) -> None:
    """Save the result on a picture of one's own."""
    viewer.open(path, plugin="napari")
    settle()
    segment(widget)
    print(widget.status.value)
    contours(viewer)
    save(viewer, out / f"entities-{path.stem[:24]}.png")


def contours(viewer: Viewer) -> None:
    """Show labels as outlines over the picture, and the picture as large and bright as it can."""
    from napari.layers import Labels

    for layer in viewer.layers:
        if isinstance(layer, Labels):
            layer.contour = 1 if max(layer.data.shape) < 400 else 2
            layer.opacity = 1.0
        elif not layer.rgb:
            layer.contrast_limits = tuple(np.percentile(layer.data, (0.5, 99.7)))
            layer.gamma = 0.8
    viewer.reset_view(margin=0.01)


def clusters_of_sample(out: Path, viewer: Viewer, widget: Any) -> None:
    """Save the sample movie with its background gone."""
    viewer.open_sample(PLUGIN, "nuclei")
    brighten(viewer)
    segment(widget)
    viewer.dims.set_current_step(0, 8)
    name_nuclei(viewer, widget)
    save(viewer, out / "clusters-nuclei.png", MOST_BYTES_OF_CLUSTERS)


def clusters_of_movie(folder: Path, out: Path, viewer: Viewer, widget: Any) -> None:
    """Save a movie of one's own half done, done, and with its background gone."""
    viewer.open(folder, plugin="napari")
    viewer.layers[0].name = "HeLa nuclei"
    brighten(viewer)
    viewer.dims.set_current_step(0, 5)
    settle()
    widget.run.native.click()
    wait(lambda: "Encoding, 8 of" in widget.status.value or widget.run.enabled, 3000)
    save(viewer, out / "clusters-running.png", MOST_BYTES_OF_CLUSTERS, seconds=0.1)
    wait(lambda: widget.run.enabled, 3000)
    print(widget.status.value)
    viewer.dims.set_current_step(0, len(viewer.layers[0].data) - 1)
    save(viewer, out / "clusters-hela.png", MOST_BYTES_OF_CLUSTERS)
    name_nuclei(viewer, widget)
    save(viewer, out / "clusters-hela-background.png", MOST_BYTES_OF_CLUSTERS)


def classes_of_smear(path: Path, out: Path, viewer: Viewer, widget: Any) -> None:
    """Save a blood smear with three classes, and with two of them made one."""
    viewer.open(path, plugin="napari")
    wait(lambda: widget.classifier.vocabulary.vocabulary is not None, 300)
    widget.names.names = BLOOD
    segment(widget)
    print(widget.status.value)
    viewer.reset_view(margin=0.01)
    save(viewer, out / "classes-blood.png", MOST_BYTES_OF_PHOTOS)
    widget.panel.merge(list(BLOOD[:2]), "blood cell")
    wait(lambda: "blood cell" in widget.names.names, 600)
    save(viewer, out / "classes-regrouped.png", MOST_BYTES_OF_PHOTOS)


def examples_on_sample(out: Path, viewer: Viewer, widget: Any) -> None:
    """Save the sample movie with nuclei taught by points."""
    viewer.open_sample(PLUGIN, "nuclei")
    brighten(viewer)
    image = viewer.layers["nuclei"]
    truth = np.asarray(viewer.layers["nuclei truth"].data[0])
    on, off = spots(truth > 0, 8), spots(truth == 0, 8)
    widget.classifier.kind.value = "examples"
    for name, places, colour in (("nucleus", on, "yellow"), ("background", off, "magenta")):
        viewer.add_points(
            np.insert(places, 0, 0, axis=1),
            name=name,
            face_color=colour,
            size=6,
            scale=image.scale,
            units=image.units,
        )
        widget.classifier.examples.name.value = name
        widget.classifier.examples.take_layer()
    segment(widget)
    print(widget.status.value)
    widget.panel.slider.value = 0.4
    wait(lambda: widget.panel.state.threshold == 0.4, 60)
    viewer.dims.set_current_step(0, 0)
    viewer.reset_view(margin=0.01)
    save(viewer, out / "classes-examples.png")


def spots(mask: np.ndarray, count: int) -> np.ndarray:
    """Return some places (count, 2) deep inside of a mask, far from each other."""
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import peak_local_max

    depth = distance_transform_edt(mask)
    return peak_local_max(depth, min_distance=12, num_peaks=count)


def results_compared(out: Path, viewer: Viewer, widget: Any) -> None:
    """Save what another scale changes in the first frames of the sample."""
    from napari_kindred.images.samples import open_sample

    sample = open_sample("nuclei")
    viewer.add_image(
        sample.data[:2],
        name="nuclei",
        scale=sample.scale,
        units=sample.units,
        axis_labels=("t", "y", "x"),
    )
    brighten(viewer)
    for scale in ("auto", "0.4"):
        widget.form.inputs["scale"].value = scale
        segment(widget)
    results = [layer for layer in viewer.layers if layer.name.startswith("nuclei entities")]
    _, compare = viewer.window.add_plugin_dock_widget(PLUGIN, "Compare results", tabify=True)
    compare.first.value, compare.second.value = results[0], results[1]
    compare.same.value = 0.8
    compare.compare.native.click()
    wait(lambda: compare.changes is not None, 300)
    compare.step(1)
    for layer in results:
        layer.visible = False
    viewer.dims.set_current_step(0, 0)
    viewer.reset_view(margin=0.01)
    save(viewer, out / "results-compared.png")


def name_nuclei(viewer: Viewer, widget: Any) -> None:
    """Do what the page tells: the coarse level, its background away, then as fine as before."""
    panel, level = widget.panel, widget.panel.level.value
    panel.level.value = 2
    panel.relabel()
    panel.cluster.value = 1
    panel.toggle_background()
    panel.level.value = level
    panel.relabel()
    shares = panel.clusters.result.table.set_index("index")["share"]
    shown = [label for label in shares.index if not panel.clusters.hidden(label)]
    panel.cluster.value = max(shown, key=lambda label: shares[label])
    panel.name.value = "nuclei"
    panel.rename()
    viewer.reset_view(margin=0.01)
    settle()


def brighten(viewer: Viewer) -> None:
    """Show the first picture as bright as it can be."""
    layer = viewer.layers[0]
    layer.contrast_limits = tuple(np.percentile(np.asarray(layer.data[-1]), (0.5, 99.7)))
    viewer.reset_view(margin=0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    parser.add_argument("--movie", type=Path, metavar="FOLDER", help="frames, an image each")
    parser.add_argument("--smear", type=Path, metavar="IMAGE", help="a blood smear")
    parser.add_argument("--only", choices=WIDGETS, help="pictures of one widget")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--size", nargs=2, type=int, default=(1366, 740), metavar=("W", "H"))
    parser.add_argument("--weights", help="other weights than the shipped ones")
    arguments = parser.parse_args()
    os.environ["NAPARI_KINDRED_CONFIG"] = tempfile.mkdtemp()  # no options of earlier runs
    wanted = [arguments.only] if arguments.only else WIDGETS
    size, out = tuple(arguments.size), arguments.out
    if "entities" in wanted:
        viewer, widget = open_viewer(size, arguments.weights)
        sample_picture(out, viewer, widget)
        for path in arguments.images:
            viewer.layers.clear()
            image_picture(path, out, viewer, widget)
        viewer.close()
    if "volumes" in wanted:
        viewer, widget = open_viewer(size, arguments.weights)
        volume_picture(out, viewer, widget)
        viewer.close()
    if "clusters" in wanted:
        viewer, widget = open_viewer(size, name="Consistent clusters")
        clusters_of_sample(out, viewer, widget)
        viewer.close()
    if "clusters" in wanted and arguments.movie:
        viewer, widget = open_viewer(size, name="Consistent clusters")
        clusters_of_movie(arguments.movie, out, viewer, widget)
        viewer.close()
    if "classes" in wanted:
        viewer, widget = open_viewer(size, name="Classes by name")
        examples_on_sample(out, viewer, widget)
        viewer.close()
    if "classes" in wanted and arguments.smear:
        viewer, widget = open_viewer(size, name="Classes by name")
        classes_of_smear(arguments.smear, out, viewer, widget)
        viewer.close()
    if "results" in wanted:
        viewer, widget = open_viewer(size, arguments.weights)
        results_compared(out, viewer, widget)
        viewer.close()


if __name__ == "__main__":
    main()
