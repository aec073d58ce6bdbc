"""What goes wrong under the window: one sentence, other layers untouched, the next run works."""

from __future__ import annotations

import itertools
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from mute import MuteError
from napari_kindred._napari.common import job_view, run_controls
from napari_kindred._napari.common.layers import KEY
from napari_kindred._napari.common.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        (0, RuntimeError("CUDA error:\n  no kernel"), "RuntimeError: CUDA error: no kernel"),
        (2, StopIteration(3), "StopIteration"),
        (2, KeyboardInterrupt(), "KeyboardInterrupt"),
        (2, SystemExit(1), "SystemExit"),
        (2, MuteError(), "MuteError"),
        (3, MemoryError(), "less memory"),
    ],
)
def test_whatever_a_job_raises_is_one_sentence_and_the_next_run_works(
    labels_layers: Any,
    widget: EntitiesWidget,
    threshold: Any,
    run: Any,
    place: int,
    error: BaseException,
    words: str,
    opened_movie: Any,
) -> None:
    before, state = opened_movie.data.copy(), dict(opened_movie.metadata)
    threshold.errors[place] = error
    run()
    assert words in widget.status.value
    assert "\n" not in widget.status.value
    assert (f"{place} of 4 frames are in" in widget.status.value) == (place > 0)
    assert len(labels_layers()) == (place > 0)
    for kept in labels_layers():
        assert kept.metadata[KEY]["complete"] is False
        assert words in kept.metadata[KEY]["stopped"]
    threshold.errors.clear()
    run()
    assert labels_layers()[-1].metadata[KEY]["complete"] is True
    np.testing.assert_array_equal(opened_movie.data, before)
    assert dict(opened_movie.metadata) == state


def test_frames_done_before_the_image_s_file_goes_away_are_kept(
    viewer: Any,
    labels_layers: Any,
    widget: EntitiesWidget,
    threshold: Any,
    run: Any,
    until: Any,
    movie: np.ndarray,
    tmp_path: Path,
) -> None:
    path = tmp_path / "movie.zarr"
    lazy = zarr.create_array(path, data=movie, chunks=(1, *movie.shape[1:]))
    viewer.add_image(lazy, axis_labels=("t", "y", "x"), contrast_limits=(0, 255))
    gate = threshold.gates[2] = threading.Event()
    widget.run.native.click()
    until(lambda: bool(labels_layers()))
    shutil.rmtree(path)
    gate.set()
    until(lambda: widget.run.enabled and not widget.cancel.enabled)
    assert "'movie.zarr' is gone" in widget.status.value
    assert "2 of 4 frames are in" in widget.status.value
    assert len(np.unique(labels_layers()[0].data[1])) == 7


@pytest.mark.parametrize("moment", ["add", "finish"])
def test_an_error_while_the_layer_is_shown_is_one_sentence_and_the_next_run_works(
    labels_layers: Any,
    widget: EntitiesWidget,
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    opened_movie: Any,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the canvas is lost")

    with monkeypatch.context() as patch:
        patch.setattr(Run, moment, fail)
        run()
    assert "the canvas is lost" in widget.status.value
    assert "\n" not in widget.status.value
    run()
    assert labels_layers()[-1].metadata[KEY]["complete"] is True


def test_a_clock_that_jumps_shows_no_nonsense(
    viewer: Any,
    widget: EntitiesWidget,
    run: Any,
    movie: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    show_message = run_controls.RunControls.show_message
    for step in (-3600.0, 1e12):
        clock = itertools.count(1e6, step)
        monkeypatch.setattr(job_view, "monotonic", lambda clock=clock: next(clock))

        def heard(self: Any, text: str, **more: Any) -> None:
            said.append(text)
            show_message(self, text, **more)

        monkeypatch.setattr(run_controls.RunControls, "show_message", heard)
        viewer.add_image(movie, axis_labels=("t", "y", "x"))
        run()
        assert "Found" in widget.status.value
    assert said
    assert not [text for text in said if "-" in text or "inf" in text or "nan" in text]
