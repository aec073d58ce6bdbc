"""An argument of a kind that it cannot have is named in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

import napari_kindred as nk
from napari_kindred.core.errors import OptionError

MOVIE = np.random.default_rng(0).integers(0, 255, (5, 32, 32), np.uint8)


@pytest.mark.parametrize("wrong", [3, "network.safetensors", (1, 2)])
def test_a_network(wrong):
    with pytest.raises(OptionError, match="is not the pair that load_network returns"):
        nk.segment_entities(MOVIE[0], model=wrong)


def test_a_model_of_clusters():
    with pytest.raises(OptionError, match="model=3 is no HierarchicalClustering; give a fitted"):
        nk.cluster_stack(MOVIE, axes="TYX", model=3)


def test_a_classifier():
    with pytest.raises(OptionError, match="classifier='cells' is no Classifier; open one"):
        nk.segment_classes(MOVIE[0], ["red cell"], classifier="cells")


@pytest.mark.parametrize(
    "run",
    [
        lambda cache: nk.cluster_stack(MOVIE, axes="TYX", cache=cache),
        lambda cache: nk.segment_classes(MOVIE[0], ["red cell"], cache=cache),
        lambda cache: nk.teach_classes([nk.Example(MOVIE[0], names=["a"])], cache=cache),
    ],
)
def test_a_cache(run):
    with pytest.raises(OptionError, match="cache='folder' is no FeatureCache; make one"):
        run("folder")


def test_axes_of_metadata():
    with pytest.raises(OptionError, match="metadata_axes=3 is no str"):
        nk.segment_entities(MOVIE[0], metadata_axes=3)


@pytest.mark.parametrize(("argument", "sentence"), [("weights", "neither a name"), ("name", "str")])
def test_what_is_fine_tuned(argument, sentence):
    with pytest.raises(OptionError, match=f"{argument}=3 is .*{sentence}"):
        nk.fine_tune(MOVIE[0], MOVIE[0], **{argument: 3})
