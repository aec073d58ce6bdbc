"""SAM at a grid of points, next to ``segment_anything``'s own ``SamAutomaticMaskGenerator``.

    python benchmarks/peers_sam.py              # both models, 10 × 10 and 32 × 32 points; two hours
    python benchmarks/peers_sam.py --models kindred-sam               # a quarter of an hour
    python benchmarks/peers_sam.py --models kindred-sam --grids 10    # minutes

Both run in this process with the same model object: the shipped ``kindred-sam``, and a SAM of the
official ViT-B's shape with random values, which costs the same time as the official one. The
picture is a frame of the shipped sample, mirrored to 1024 × 1024, as 8 bits.

*Equal masks*: both keep all three masks of every point, nothing filtered and nothing thrown out as
a duplicate, at the very same points, crops off. Whether the masks are equal is looked at, not
believed: the same embedding is decoded by both, and logits, predicted qualities and the masks at
the picture's size are compared one by one. *As they come*: what each does when only the number of
points is given. Ours then keeps the best mask of each point; theirs throws out unsure, unstable
and duplicate ones.

Both take turns; quoted is the ratio within each round. Grids after the first, which take long, get
no round to warm up, and two rounds at most. Encoder and decoder are timed apart by
watching the model's parts; the rest is enlarging, thresholds, boxes and the packing of masks.
"""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from entities_speed import SIDE, picture
from peers import ValueRange, in_turns, machine, ratios, same_cores
from plots import bars, keep_plot, new_figure, shown
from tables import keep, measured_before

from napari_kindred.classes.proposals import sam_grid
from napari_kindred.classes.proposals.sam_grid import SamGrid, grid_points, predict_masks
from napari_kindred.classes.sam.model import new_sam
from napari_kindred.core.events import finish
from napari_kindred.encoders.sam import SamEncoder, open_sam
from napari_kindred.encoders.sam_shapes import SamShapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_kindred.classes.proposals.base import Proposals
    from napari_kindred.classes.proposals.masks import Masks

NAME = "peers_sam"
GRIDS = (10, 32)
MODELS = ("kindred-sam", "vit_b")
KEPT = ("equal masks", "as they come")
TITLES = {"kindred-sam": "`kindred-sam`", "vit_b": "ViT-B, random values"}


def vit_b() -> SamEncoder:
    """Return a SAM built as the official ViT-B is, with random values."""
    sizes = SamShapes(
        side=1024,
        patch=16,
        width=768,
        depth=12,
        heads=12,
        hidden=4 * 768,
        window=14,
        everywhere=(2, 5, 8, 11),
        qkv_bias=True,
        out_channels=256,
        mask_channels=16,
        decoder_depth=2,
        decoder_hidden=2048,
        attention_width=128,
        masks=3,
        quality_depth=3,
        quality_hidden=256,
    )
    sam = new_sam(sizes).eval().requires_grad_(requires_grad=False)
    return SamEncoder("vit_b", sam, sizes, "none", "random")


class Clock:
    """Adds up the time within a SAM's image encoder, and within its prompt encoder and decoder."""

    def __init__(self) -> None:
        self.seconds = {"encoder": 0.0, "decoder": 0.0}

    @contextmanager
    def watch(self, sam: Any) -> Iterator[None]:
        """Count while within."""
        parts = {
            "encoder": [sam.image_encoder],
            "decoder": [sam.prompt_encoder, sam.mask_decoder],
        }
        patches = [
            patch.object(module, "forward", self._timed(name, module.forward))
            for name, modules in parts.items()
            for module in modules
        ]
        # Ours asks the decoder's parts in an order of its own.
        decode = self._timed("decoder", sam_grid.decode)
        patches.append(patch.object(sam_grid, "decode", decode))
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return call


def timed(sam: Any, work: Callable[[], int]) -> dict[str, float]:
    """Run once; returns seconds in total and by part, and how many masks there are."""
    clock = Clock()
    with clock.watch(sam):
        start = time.perf_counter()
        masks = work()
        total = time.perf_counter() - start
    rest = total - sum(clock.seconds.values())
    return {"total": total, **clock.seconds, "rest": rest, "masks": float(masks)}


def stock(sam: Any, points: np.ndarray, **options: Any) -> Any:
    """Return the stock generator, told the points (x, y) as shares of the picture."""
    from segment_anything import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator(
        sam, points_per_side=None, point_grids=[points], crop_n_layers=0, **options
    )


UNFILTERED = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


def compare(
    encoder: SamEncoder, pixels: np.ndarray, side: int, repeats: int, warm: bool
) -> dict[str, Any]:
    """Time both kinds of run for one grid."""
    sam, shape = encoder.sam, (pixels.shape[0], pixels.shape[1])
    ours = np.ascontiguousarray(pixels.astype(np.float32) / 255)
    points = grid_points((slice(0, shape[0]), slice(0, shape[1])), side)
    shares = points[:, ::-1] / np.array(shape[::-1])
    found: dict[str, Any] = {"side": side}
    for what, keeps, options in zip(KEPT, ("all", "best"), (UNFILTERED, {}), strict=True):
        grid = SamGrid(encoder, side * side, masks=keeps)
        generator = stock(sam, shares, **options)
        runs = in_turns(
            {
                "ours": lambda grid=grid: timed(
                    sam, lambda: len(finish(grid.iter_propose(ours)).masks)
                ),
                "stock": lambda generator=generator: timed(
                    sam, lambda: len(generator.generate(pixels))
                ),
            },
            repeats,
            warm,
        )
        found[what] = {
            name: {key: ValueRange.of(run[key] for run in all_).median for key in all_[0]}
            for name, all_ in runs.items()
        }
        found[what]["ratio"] = vars(ratios(runs["stock"], runs["ours"], "total"))
        found[what]["ratio without encoder"] = vars(
            ValueRange.of(
                (a["total"] - a["encoder"]) / (b["total"] - b["encoder"])
                for a, b in zip(runs["stock"], runs["ours"], strict=True)
            )
        )
    return found


def equality(encoder: SamEncoder, pixels: np.ndarray, side: int) -> dict[str, float]:
    """Decode one embedding by both, at the same points, and compare what comes out.

    Returns
    -------
    dict of str to float
        ``logits`` and ``quality``: the largest difference of coarse masks' logits, divided by
        their largest value, and of predicted IoU.  ``masks``: how many there are.  ``equal``: share
        of masks that are the same at the picture's size but for one pixel in ten thousand.
        ``IoU``: the smallest between the two masks of one point.  ``whole``: the mean IoU when each
        encodes the picture by itself, which both bring to the input's size in a way of its own.
    """
    from segment_anything import SamPredictor

    sam, shape = encoder.sam, (pixels.shape[0], pixels.shape[1])
    points = grid_points((slice(0, shape[0]), slice(0, shape[1])), side)
    predictor = SamPredictor(sam)
    predictor.set_image(pixels)
    answers = predict_masks(sam, predictor.features, points, shape)
    coordinates = predictor.transform.apply_coords(points[:, ::-1].copy(), shape)
    logits, quality = [], []
    for some in np.array_split(coordinates, max(1, len(points) // 64)):
        where = torch.as_tensor(some, dtype=torch.float32, device=predictor.device)[:, None]
        inside = torch.ones(len(some), 1, dtype=torch.int, device=predictor.device)
        _, iou, low = predictor.predict_torch(where, inside, multimask_output=True)
        logits.append(low)
        quality.append(iou)
    low, iou = torch.cat(logits), torch.cat(quality)
    own = _by_place(stock(sam, points[:, ::-1] / np.array(shape[::-1]), **UNFILTERED), pixels)
    with patch.object(encoder, "encode", _given(encoder, predictor.features)):
        same = _compared(encoder, pixels, side, own)
    whole = _compared(encoder, pixels, side, own)
    return {
        "logits": float((answers.logits - low).abs().max() / low.abs().max()),
        "quality": float((answers.quality - iou).abs().max()),
        "masks": len(same),
        "equal": float(np.mean([iou > 0.9999 for iou in same])),
        "IoU": float(min(same)),
        "whole": float(np.mean(whole)),
    }


def _given(encoder: SamEncoder, features: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """Return an ``encode`` that answers with what the stock predictor has encoded."""
    real = encoder.encode

    def encode(batch: torch.Tensor) -> Any:
        tokens = real(batch)
        return type(tokens)(features.permute(0, 2, 3, 1), tokens.valid)

    return encode


def _by_place(generator: Any, pixels: np.ndarray) -> dict[tuple[Any, ...], list[np.ndarray]]:
    """Return the stock generator's masks that are not empty, by point, in order of quality."""
    found: dict[tuple[Any, ...], list[tuple[float, np.ndarray]]] = {}
    for one in generator.generate(pixels):
        x, y = np.round(one["point_coords"][0], 1)
        if one["area"]:
            found.setdefault((y, x), []).append((one["predicted_iou"], one["segmentation"]))
    return {
        key: [mask for _, mask in sorted(value, key=lambda pair: -pair[0])]
        for key, value in found.items()
    }


def _compared(
    encoder: SamEncoder, pixels: np.ndarray, side: int, own: dict[tuple[Any, ...], list[np.ndarray]]
) -> list[float]:
    """Return the IoU of every mask of ours with the stock's of the same point and rank."""
    ours = np.ascontiguousarray(pixels.astype(np.float32) / 255)
    result: Proposals = finish(SamGrid(encoder, side * side, masks="all").iter_propose(ours))
    ranked: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for number, (y, x) in enumerate(np.round(result.points.astype(float), 1)):
        ranked.setdefault((y, x), []).append((-float(result.quality[number]), number))
    found = []
    for key in ranked.keys() | own.keys():
        mine = [number for _, number in sorted(ranked.get(key, []))]
        theirs = own.get(key, [])
        found += [
            _iou(_full(result.masks, number), mask)
            for number, mask in zip(mine, theirs, strict=False)
        ]
        found += [0.0] * abs(len(mine) - len(theirs))
    return found


def _full(masks: Masks, number: int) -> np.ndarray:
    plane = np.zeros(masks.shape, bool)
    top, left, bottom, right = masks.boxes[number]
    plane[top:bottom, left:right] = masks.crops[number]
    return plane


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    head = (
        "model",
        "points",
        "kept",
        "masks, ours / theirs",
        "seconds, ours: all (encoder, decoder, rest)",
        "seconds, theirs",
        "theirs over ours",
        "the same without the encoder",
    )
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for model, found in result["models"].items():
        for one in found["grids"]:
            for what in KEPT:
                own = one[what]
                counts = " / ".join(f"{own[name]['masks']:.0f}" for name in ("ours", "stock"))
                seconds = " | ".join(
                    "{total:.2f} ({encoder:.2f}, {decoder:.2f}, {rest:.2f})".format(**own[name])
                    for name in ("ours", "stock")
                )
                rows.append(
                    f"| {TITLES[model]} | {one['side']} × {one['side']} | {what} | {counts} "
                    f"| {seconds} | {ValueRange(**own['ratio'])} "
                    f"| {ValueRange(**own['ratio without encoder'])} |"
                )
    rows += [
        "",
        _checked(result),
        "",
        (
            f"Medians of {result['repeats']} rounds, of the larger grid 2 at most; ratios round by "
            f"round, median (least–most). {result['hardware']}."
        ),
        "",
        shown(NAME, "Seconds of a picture, ours and the stock generator"),
    ]
    return "\n".join(rows)


def _checked(result: dict[str, Any]) -> str:
    said = [
        f"{TITLES[model]}, {one['masks']} masks: logits differ by at most {one['logits']:.0e} of "
        f"the largest, predicted IoU by {one['quality']:.0e}; {100 * one['equal']:.1f} % of the "
        f"masks are the same at full size but for a pixel in ten thousand, the worst has an IoU "
        f"of {one['IoU']:.4f}"
        for model, found in result["models"].items()
        for one in [found["equality"]]
    ]
    return "The same embedding decoded by both: " + "; ".join(said) + "."


def draw(result: dict[str, Any]) -> Any:
    """Return the plot: seconds of both for every model and grid."""
    models = result["models"]
    figure, panels = new_figure(len(models), width=4.6, height=2.6)
    for axes, (model, found) in zip(panels, models.items(), strict=True):
        values = {
            f"{name}, {one['side']} × {one['side']}, {what}": one[what][key]["total"]
            for one in found["grids"]
            for what in KEPT
            for name, key in (("ours", "ours"), ("stock", "stock"))
        }
        bars(axes, values, TITLES[model].strip("`"), "seconds")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--grids", default=",".join(map(str, GRIDS)), help="points along a side")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of the picture [{SIDE}]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="rounds that are counted [3]")
    parser.add_argument("--out", type=Path, help="another JSON file; the pages then stay")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    same_cores(given.threads)
    plane = picture(None)[0][: given.side, : given.side].astype(np.float32)
    low, high = np.percentile(plane, (0.1, 99.9))
    grey = (255 * np.clip((plane - low) / (high - low), 0, 1)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    result = measured_before(NAME, given.out)
    result |= {"hardware": machine(), "repeats": given.repeats}
    result.setdefault("models", {})
    for model in given.models.split(","):
        encoder = vit_b() if model == "vit_b" else open_sam(model, "cpu")
        grids = [int(side) for side in given.grids.split(",")]
        result["models"][model] = {
            "equality": equality(encoder, pixels, min(grids)),
            "grids": [
                compare(
                    encoder, pixels, side, given.repeats if first else min(2, given.repeats), first
                )
                for first, side in zip([True, *[False] * len(grids)], grids, strict=False)
            ],
        }
    keep(NAME, result, markdown(result), given.out)
    keep_plot(NAME, draw(result), given.out)


if __name__ == "__main__":
    main()
