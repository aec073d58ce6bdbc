"""napari-convpaint: k-means of a whole stack's features, without annotations."""

import time
from unittest.mock import patch

import numpy as np
import torch
from napari_convpaint import utils
from napari_convpaint.convpaint_model import ConvpaintModel
from napari_convpaint.feature_extractors import nnlayers
from serving import THREADS, peak, serve

torch.set_num_threads(THREADS)

model = None
tokens = None


def open_model():
    """Build its default model, with a VGG16 of random weights, for others cannot be had offline."""
    global model
    torch.manual_seed(0)
    weights = nnlayers.import_models().vgg16().state_dict()
    with (
        patch.object(nnlayers, "guided_model_download", lambda *_, **__: None),
        patch.object(nnlayers.torch, "load", lambda *_, **__: weights),
    ):
        model = ConvpaintModel()
    return {"network": model.get_param("fe_name"), "megabytes": peak()}


def keep(values):
    """Keep tokens (frames, rows, columns, features) for what comes."""
    global tokens
    tokens = np.moveaxis(values, -1, 0)
    return {}


def cluster(clusters, components):
    """Cluster what was kept, by what its button for a whole stack calls."""
    start = time.perf_counter()
    reduced = utils.apply_pca_to_f_image(tokens, n_components=components)
    labels = utils.apply_kmeans_to_f_image(reduced, n_clusters=clusters, random_state=0)
    return {"total": time.perf_counter() - start, "found": len(np.unique(labels))}


def stack(movie, clusters):
    """Extract features of a stack and cluster them, by its own call for that."""
    start = time.perf_counter()
    labels = model.get_feature_image(movie, kmeans_clusters=clusters, use_device="cpu")
    seconds = time.perf_counter() - start
    return {"total": seconds, "found": len(np.unique(labels)), "megabytes": peak()}


serve({"open_model": open_model, "keep": keep, "cluster": cluster, "stack": stack})
