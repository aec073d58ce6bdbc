"""A folder of images from the window."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog

from napari_kindred._napari.results import folder_run
from napari_kindred._napari.results.folder_run import START, STOP, iter_command
from napari_kindred.core.errors import KindredError
from napari_kindred.load import load_segmentation

if TYPE_CHECKING:
    from pathlib import Path

WORKS = """
import json, sys, time, pathlib
out = pathlib.Path(sys.argv[1])
for number in range(3):
    content = {"images": dict.fromkeys(range(number)), "failed": {"bad.png": "why"}}
    (out / "provenance.json").write_text(json.dumps(content))
    time.sleep(0.5)
print("out: 2 entities in 2 images")
print("napari-kindred: bad.png: why", file=sys.stderr)
sys.exit(int(sys.argv[2]))
"""

STAYS = """
import pathlib, sys, time
from napari_kindred.cli.progress_bar import terminate_like_interrupt
try:
    with terminate_like_interrupt():
        pathlib.Path(sys.argv[1], "begun").touch()
        time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1], "kept").touch()
"""


def test_progress_is_that_of_the_images_and_the_end_what_the_command_printed(
    tmp_path: Path,
) -> None:
    def run(code: str) -> tuple[list[str], str]:
        job, seen = (
            iter_command((str(tmp_path), code), tmp_path, 3, (sys.executable, "-c", WORKS)),
            [],
        )
        while True:
            try:
                seen.append(next(job).what)
            except StopIteration as stop:
                return seen, stop.value

    seen, text = run("0")
    assert list(dict.fromkeys(seen))[-2:] == ["image 2 of 3", "image 3 of 3"]
    assert "2 entities in 2 images" in text
    assert "bad.png: why" in text
    with pytest.raises(KindredError, match=r"bad\.png: why"):
        run("1")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_a_run_that_is_stopped_keeps_what_it_has_done(tmp_path: Path) -> None:
    job = iter_command((str(tmp_path),), tmp_path, 3, (sys.executable, "-c", STAYS))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a program in the background
    try:
        next(job)
    finally:
        signal.signal(signal.SIGINT, before)
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    job.close()
    assert (tmp_path / "kept").exists()


@pytest.fixture
def widget(entities_widget: Any) -> Any:
    return entities_widget


@pytest.mark.slow
def test_a_folder_is_segmented_like_the_selected_result(
    viewer: Any,
    widget: Any,
    run: Any,
    until: Any,
    discs: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for number in range(2):
        iio.imwrite(source / f"p{number}.png", np.roll(discs[0], number, axis=1))
    tifffile.imwrite(tmp_path / "one.tif", discs[0])
    (layer,) = viewer.open(str(tmp_path / "one.tif"), plugin="napari")
    widget.image.value = layer
    widget.axes.value = "YX"
    widget.form.inputs["min_area"].value = 20
    run()
    folders = iter([str(source), str(out)])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(folders))
    button = widget.more_tools.folder
    assert button.text == START
    button.native.click()
    assert button.text == STOP
    until(lambda: button.text == START, timeout=120_000)
    assert "in 2 images" in widget.status.value
    assert load_segmentation(out / "p1.tif").provenance["config"]["min_area"] == 20
    assert json.loads((out / "provenance.json").read_text())["complete"] is True


def test_what_no_command_can_do_is_said(
    viewer: Any, widget: Any, run: Any, movie: np.ndarray, tmp_path: Path
) -> None:
    viewer.add_image(movie[0], name="discs")
    layer = run()
    widget.more_tools.folder_run.start(layer, tmp_path, tmp_path / "out")
    assert "holds no image" in widget.status.value
    assert not widget.more_tools.folder_run.busy
    assert folder_run.images_done(tmp_path) == 0
