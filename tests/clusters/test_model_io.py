"""Models on disk: the same labels after reading, and one sentence for what is no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.core.errors import InputError, OutputError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def fitted(planted: Callable[..., Any]) -> HierarchicalClustering:
    model = HierarchicalClustering(5, seed=3, carry_over=False).fit(planted(noise=4.0).tokens)
    model.intensity_ = (12.5, 99.0)
    model.encoder_ = {"name": "kindred", "sha256": "ab" * 32, "stride": 4, "dimension": 24}
    return model


@pytest.fixture
def path(fitted: HierarchicalClustering, tmp_path: Path) -> Path:
    return fitted.save(tmp_path / "kinds.safetensors")


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **facts: Any) -> Path:
    """Write a model's file again with other tensors (None leaves one out) or other facts."""
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    changed = {**load_file(path), **(tensors or {})}
    kept = {name: value for name, value in changed.items() if value is not None}
    text = json.dumps({**json.loads(about["facts"]), **facts})
    save_file(kept, path, {**about, "facts": text})
    return path


# -- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "paper"},
        {"reassign": False},
        {"background": "largest"},
        {"n_clusters": "auto"},
    ],
)
def test_a_model_that_was_saved_labels_as_the_one_in_memory(
    planted: Callable[..., Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    model = HierarchicalClustering(**{"n_clusters": 5, **options}).fit(planted(noise=4.0).tokens)
    read = HierarchicalClustering.load(model.save(tmp_path / "kinds.safetensors"))
    other = planted(noise=4.0, seed=9).tokens
    np.testing.assert_array_equal(read.predict(other), model.predict(other))
    assert read.get_params() == model.get_params()
    for level in range(2, len(model.leaf_areas_) + 1):
        np.testing.assert_array_equal(read.lut(level), model.lut(level))
    np.testing.assert_array_equal(read.kinds_, model.kinds_)
    assert read.temperature_ == model.temperature_


def test_intensities_and_encoder_are_kept(path: Path) -> None:
    read = HierarchicalClustering.load(str(path))
    assert read.intensity_ == (12.5, 99.0)
    assert read.encoder_ == {"name": "kindred", "sha256": "ab" * 32, "stride": 4, "dimension": 24}


def test_options_of_numpy_s_types_are_written_as_plain_numbers(
    planted: Callable[..., Any], tmp_path: Path
) -> None:
    model = HierarchicalClustering(np.int64(5), seed=np.uint8(3))  # type: ignore[arg-type]
    read = HierarchicalClustering.load(model.fit(planted().tokens).save(tmp_path / "a.safetensors"))
    assert read.get_params()["n_clusters"] == 5


# -- what is refused -------------------------------------------------------------------------


def test_a_model_that_is_not_fitted_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not fitted"):
        HierarchicalClustering().save(tmp_path / "kinds.safetensors")
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(fitted: HierarchicalClustering, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'kinds.pkl' is not a name .* \.safetensors"):
        fitted.save(tmp_path / "kinds.pkl")


def test_a_folder_where_nothing_can_be_written_is_named(
    fitted: HierarchicalClustering, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        fitted.save(tmp_path / "file" / "kinds.safetensors")


def said(path: Path) -> str:
    """What loading a file says, which must be one sentence."""
    with pytest.raises(WeightsError) as caught:
        HierarchicalClustering.load(path)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize("about", [None, {"kind": "entities"}, {"facts": "{}"}])
def test_weights_of_something_else_are_refused(tmp_path: Path, about: Any) -> None:
    path = tmp_path / "kinds.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, path, about)
    assert "not a model of consistent clusters" in said(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"n_clusters": 5, "colour": "red"}},
        {"options": {"n_clusters": -5}},
        {"options": None},
        {"temperature": "warm"},
        {"intensity": ["dark", "light"]},
        {"intensity": [1.0]},
        {"encoder": 3},
        {"tensors": {"centres_": None}},
        {"tensors": {"mean": None}},
        {"tensors": {"merges_": None}},
        {"tensors": {"leaf_parents_": np.zeros(2, np.int64)}},
    ],
)
def test_facts_or_tensors_that_do_not_fit_are_refused(path: Path, changes: dict[str, Any]) -> None:
    assert "not a model of consistent clusters" in said(rewritten(path, **changes))
