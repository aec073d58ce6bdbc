"""Cellpose, version 3 or 4: its own pipeline around a network of random weights.

What the network answers is replaced by the flows of true masks, as Cellpose makes them for
training, so that the steps after it have as much to do as behind a good network.
"""

import time
from unittest.mock import patch

import numpy as np
import torch
from cellpose import dynamics, models
from serving import THREADS, serve

torch.set_num_threads(THREADS)
torch.set_flush_denormal(True)  # random weights must not cost more than trained ones
CPU = torch.device("cpu")
FLOW = 5.0  # a network's flows are five times as long as those of masks
INSIDE = 10.0  # logit of a pixel that surely belongs to a cell

model = None
answer = None


def open_model():
    """Build the network with random weights.

    Cellpose 4 computes in bfloat16 unless told otherwise, which a processor without instructions
    for it only imitates, many times slower; there it gets float32.
    """
    global model
    torch.manual_seed(0)
    if not hasattr(models, "CPSAM"):
        model = models.CellposeModel(gpu=False, pretrained_model=False)
        return {"network": "CPnet", "numbers": "float32"}
    half = torch.cpu._is_avx512_bf16_supported()
    model = _sam(half)
    return {"network": "CPSAM", "numbers": "bfloat16" if half else "float32"}


def _sam(half):
    """Return a model whose weights were not loaded, for they cannot be had without network."""
    with (
        patch.object(models, "get_backbone", lambda _: "sam_vitl"),
        patch.object(models.CPSAM, "load_model", lambda net, *_, **__: net.to(net.dtype)),
    ):
        return models.CellposeModel(gpu=False, pretrained_model=__file__, use_bfloat16=half)


def masks(labels):
    """Keep the flows of true masks as the network's answer from now on."""
    global answer
    flows = dynamics.labels_to_flows([labels.astype(np.int32)], device=CPU)[0]
    inside = np.where(labels > 0, INSIDE, -INSIDE).astype(np.float32)
    answer = FLOW * flows[-2:, None].astype(np.float32), inside[None], np.zeros(256, np.float32)
    return {}


def segment(pixels, network):
    """Run the pipeline as ``model.eval`` does; the network only if asked to."""
    spent = {"network": 0.0}
    run = model._run_net

    def replaced(*args, **options):
        if network:
            start = time.perf_counter()
            run(*args, **options)
            spent["network"] = time.perf_counter() - start
        return answer

    with patch.object(model, "_run_net", replaced):
        start = time.perf_counter()
        labels = model.eval(pixels)[0]
        total = time.perf_counter() - start
    return {
        "total": total,
        **spent,
        "post": total - spent["network"],
        "labels": labels.astype(np.int32),
    }


serve({"open_model": open_model, "masks": masks, "segment": segment})
