"""StarDist: trained for some minutes here, then asked for the instances of a picture."""

import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from serving import THREADS, Clock, serve
from stardist.models import Config2D, StarDist2D

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)

STEPS = 10
NAME = "model"
model = None


def _pieces(images, labels, shapes):
    """Take pictures out of the corners of the squares they came in; returns pairs."""
    pairs = []
    for image, label, (height, width) in zip(images, labels, shapes, strict=True):
        pairs.append((normalize(image[:height, :width], 1, 99.8), label[:height, :width]))
    return pairs


def train(folder, minutes, grid, images, labels, shapes):
    """Train with StarDist's default options but for the grid, and keep the model."""
    global model
    pairs = _pieces(images, labels, shapes)
    held = max(1, len(pairs) // 20)
    training, validation = pairs[held:], pairs[:held]
    config = Config2D(grid=(grid, grid), train_tensorboard=False)
    model = StarDist2D(config, name=NAME, basedir=folder)
    tf.random.set_seed(0)
    start, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - start < 60 * minutes:
        model.train(
            [image for image, _ in training],
            [label for _, label in training],
            validation_data=([x for x, _ in validation], [y for _, y in validation]),
            seed=0,
            epochs=1,
            steps_per_epoch=STEPS,
        )
        steps += STEPS
    model.optimize_thresholds([x for x, _ in validation], [y for _, y in validation])
    return {"steps": steps, "seconds": time.perf_counter() - start, **_thresholds()}


def load(folder):
    """Open a model that was trained before."""
    global model
    if not (Path(folder) / NAME / "thresholds.json").exists():
        return {"found": False}
    model = StarDist2D(None, name=NAME, basedir=folder)
    return {"found": True, **_thresholds()}


def _thresholds():
    return {"prob": float(model.thresholds.prob), "nms": float(model.thresholds.nms)}


def segment(pixels):
    """Normalise as StarDist's examples do, and segment; times of all and of the last step."""
    clock = Clock()
    model._instances_from_prediction = clock.timed(
        "post", type(model)._instances_from_prediction.__get__(model)
    )
    start = time.perf_counter()
    labels, _ = model.predict_instances(normalize(pixels, 1, 99.8))
    total = time.perf_counter() - start
    post = clock.seconds["post"]
    return {
        "total": total,
        "post": post,
        "network": total - post,
        "labels": labels.astype(np.int32),
    }


serve({"train": train, "load": load, "segment": segment})
