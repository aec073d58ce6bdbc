"""The command ``learn`` reads corrected images and hands them to fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile

from napari_kindred.cli.main import main
from napari_kindred.core.events import Progress
from napari_kindred.entities.learning import fine_tune as module
from napari_kindred.entities.learning.files import FineTuned

SCORES = {when: {"AP50": value, "mSA": 0.1} for when, value in (("before", 0.25), ("after", 0.5))}


@pytest.fixture
def asked(monkeypatch):
    """What fine-tuning was asked for; it does nothing."""
    seen: dict[str, Any] = {}

    def learn(images, labels, checked, weights, **more):
        seen.update(images=images, labels=labels, checked=checked, weights=weights, **more)
        yield Progress(1, 1, "learning")
        card = {"name": "mine", "scores": {"held_back": SCORES, "control": SCORES}}
        return FineTuned(str(more["out"]), True, card)

    monkeypatch.setattr(module, "iter_fine_tune", learn)
    return seen


@pytest.fixture
def data(tmp_path):
    """Two corrected images, of the second a part."""
    for number, name in enumerate("ab"):
        values = np.full((8, 9), number, np.uint8)
        for part, add in (("images", 10), ("labels", 1)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "data" / part / f"{name}.tif", values + add)
    (tmp_path / "data" / "checked").mkdir()
    tifffile.imwrite(tmp_path / "data" / "checked" / "b.tif", np.eye(8, 9, dtype=np.uint8) * 255)
    return tmp_path / "data"


def test_images_labels_masks_and_options_arrive(asked, data, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    arguments = ["--weights", "w", "--name", "My cells", "--minutes", "2", "--layers", "head"]
    assert main(["learn", str(data), "--out", str(out), *arguments]) == 0
    assert [int(file.data[0, 0]) for file in asked["images"]] == [10, 11]
    assert [int(labels[0, 0]) for labels in asked["labels"]] == [1, 2]
    assert asked["checked"][0] is None
    np.testing.assert_array_equal(asked["checked"][1], np.eye(8, 9, dtype=bool))
    assert (asked["weights"], asked["name"], asked["out"]) == ("w", "My cells", out)
    assert (asked["config"].minutes, asked["config"].layers) == (2.0, "head")
    printed = capsys.readouterr().out
    assert "objects held back 0.25 → 0.50" in printed
    assert f"Weights: {out}" in printed


def test_what_is_missing_is_told_in_one_sentence(asked, data, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    out.touch()
    assert main(["learn", str(data), "--out", str(out)]) == 1
    (data / "labels" / "b.tif").unlink()
    assert main(["learn", str(data), "--out", str(out), "--overwrite"]) == 1
    assert main(["learn", str(tmp_path), "--out", str(out), "--overwrite"]) == 1
    told = capsys.readouterr().err
    for sentence in ("is there already", "has no label image named b", "need a folder images/"):
        assert sentence in told
    assert not asked
