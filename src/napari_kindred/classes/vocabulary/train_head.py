"""Training of the head that classifies masks: a teacher, then a student taught its uncertainty.

U-SAM, section 3.5 and 4.  Seconds on a CPU because masks are embedded before.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...compute.device import load_triton_apart
from ...core.errors import InputError
from ...core.events import Progress, finish
from .mil import (
    NOTHING,
    UNKNOWN,
    UNMARKED,
    Bag,
    Head,
    bad_masks,
    bag_scores,
    instance_loss,
    mil_loss,
    uncertainty_loss,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from ..config import TeachConfig

SMALLEST = 1e-6
"""Smallest standard deviation of an embedding's value that is not constant."""

LEARNING_RATE = 1e-3
"""Learning rate of Adam, as in the paper (section 4)."""

BATCH = 64
"""Bags in a step, as in the paper (section 4)."""

DRAWN = 100
"""Masks of a bag in a step, the paper's d; drawn anew from a larger bag each time."""

MARKED = 512
"""Annotated masks in a step."""

NOISE = 0.5
"""Deviation of noise on standardised embeddings, so that few annotations are not memorised."""

DROPPED = 0.3
"""Dropout of the hidden values, for the same reason."""

RELIABLE = 0.5
"""Share of the unmarked masks, those least like any marked one, that count as background."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one torch thread; not to be held across a ``yield``.

    The steps are so small that several threads gain little, and on busy cores they wait for each
    other ten times as long as one alone takes.  The result then does not depend on the number of
    cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TrainingSet:
    """All masks of all bags, one after the other, for training.

    Of M ``embeddings`` (M, D), ``bags`` are the numbers of the masks of each bag whose classes were
    named, with ``present`` and ``annotated`` (B, C); ``marked`` (K,) those of masks that are
    trained on directly, with ``weights`` (K,); ``allowed`` (M, outputs) the possible classes of
    each mask, and ``open`` (M,) masks of which only the classes of their image are known.
    """

    embeddings: Tensor
    bags: list[Tensor]
    present: Tensor
    annotated: Tensor
    marked: Tensor
    allowed: Tensor
    weights: Tensor
    open: Tensor


def prepare(bags: Sequence[Bag], classes: int, unmarked: float) -> tuple[TrainingSet, bool]:
    """Combine bags for training; returns also whether there is an output for no class."""
    bags = [bag for bag in bags if len(bag)]
    if not bags:
        raise InputError(
            "The examples hold no masks to learn from; use larger images or other proposals."
        )
    embeddings = np.concatenate([bag.embeddings for bag in bags]).astype(np.float32)
    codes = reliable(embeddings, np.concatenate([bag.instances for bag in bags]))
    if not unmarked:
        codes = np.where(codes == UNMARKED, np.int16(UNKNOWN), codes)
    nothing = bool(np.isin(codes, (NOTHING, UNMARKED)).any())
    named = [i for i, bag in enumerate(bags) if bag.present is not None and bag.present.any()]
    marked = np.flatnonzero(codes != UNKNOWN)
    if not named and not (codes >= 0).any():
        raise InputError("The examples name no class; give each at least one name, or marks.")
    ends = np.cumsum([0, *(len(bag) for bag in bags)])
    training_set = TrainingSet(
        embeddings=torch.from_numpy(embeddings),
        bags=[torch.arange(ends[i], ends[i + 1]) for i in named],
        present=_flags([bags[i].present for i in named], classes),
        annotated=_flags([bags[i].annotated for i in named], classes),
        marked=torch.from_numpy(marked),
        allowed=torch.from_numpy(np.concatenate([_allowed(bag, nothing) for bag in bags])),
        weights=torch.from_numpy(instance_weights(codes[marked], unmarked)),
        open=torch.from_numpy(codes == UNKNOWN),
    )
    return training_set, nothing


def _flags(rows: Sequence[NDArray[np.bool_] | None], classes: int) -> Tensor:
    return torch.from_numpy(np.array(rows, bool).reshape(-1, classes))


def _allowed(bag: Bag, nothing: bool) -> NDArray[np.bool_]:
    """Return the possible classes of each mask of a bag, (N, outputs)."""
    others = np.append(~bag.annotated, nothing)[: len(bag.annotated) + nothing]
    possible = np.ones_like(others)
    if bag.present is not None:
        possible = others | np.append(bag.present, False)[: len(others)]
    rows = np.tile(possible, (len(bag), 1))
    rows[(bag.instances == NOTHING) | (bag.instances == UNMARKED)] = others
    named = np.flatnonzero(bag.instances >= 0)
    rows[named] = False
    rows[named, bag.instances[named]] = True
    return rows


def reliable(embeddings: NDArray[np.float32], codes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Take unmarked masks for unknown if they look like marked ones: new codes (M,)."""
    left, named = np.flatnonzero(codes == UNMARKED), np.flatnonzero(codes >= 0)
    if not len(left) or not len(named):
        return codes
    deviation = embeddings.std(0)
    standardised = torch.from_numpy(embeddings / np.where(deviation > SMALLEST, deviation, 1.0))
    distance = torch.cdist(standardised[left], standardised[named]).amin(1).numpy()
    alike = distance < np.quantile(distance, 1 - RELIABLE)
    codes = codes.copy()
    codes[left[alike]] = UNKNOWN
    return codes


def instance_weights(codes: NDArray[np.int16], unmarked: float) -> NDArray[np.float32]:
    """Weigh marked masks (K,), so that a frequent class does not dominate a rare one.

    A class counts as the square root of its masks, certain background likewise.  Masks that merely
    were not annotated count as ``unmarked`` times all classes together: where a class looks like
    some of them its probability is still at least ``1 / (1 + unmarked)``.
    """
    weights = np.zeros(len(codes), np.float32)
    total = 0.0
    for code, count in zip(*np.unique(codes[codes != UNMARKED], return_counts=True), strict=True):
        weights[codes == code] = count**-0.5
        total += count**0.5 * (code >= 0)
    left = codes == UNMARKED
    if left.any():
        # Images with nothing annotated but the background have no class to compare with.
        weights[left] = unmarked * (total or 1.0) / left.sum()
    return weights


def iter_train_head(
    bags: Sequence[Bag], classes: int, config: TeachConfig
) -> Generator[Progress, None, Head]:
    """Train a head on bags, yielding its progress."""
    with one_thread():
        training_set, nothing = prepare(bags, classes, config.unmarked)
    total = config.steps * (2 if config.distillation and len(training_set.bags) else 1)
    shape = (classes, nothing)
    no_mask = torch.zeros(len(training_set.embeddings), dtype=torch.bool)
    teacher = yield from _fit(training_set, no_mask, shape, config, (0, total))
    if not config.distillation or not training_set.bags:
        return teacher
    with one_thread(), torch.no_grad():
        logits = torch.cat([teacher(part) for part in torch.split(training_set.embeddings, 4096)])
    bad = training_set.open & bad_masks(logits, training_set.allowed, config.uncertain)
    if not bad.any():
        return teacher
    return (yield from _fit(training_set, bad, shape, config, (config.steps, total)))


def train_head(bags: Sequence[Bag], classes: int, config: TeachConfig) -> Head:
    """Train a head on bags; see :func:`iter_train_head`."""
    return finish(iter_train_head(bags, classes, config))


def _fit(
    training_set: TrainingSet,
    bad: Tensor,
    shape: tuple[int, bool],
    config: TeachConfig,
    progress: tuple[int, int],
) -> Generator[Progress, None, Head]:
    """Train one head from scratch."""
    done, total = progress
    generator = torch.Generator().manual_seed(config.seed + 1_000_003 * (done > 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=generator)))
        head = Head(training_set.embeddings.shape[1], *shape, config.hidden)
    with one_thread():
        head.mean.copy_(training_set.embeddings.mean(0))
        deviation = training_set.embeddings.std(0, correction=0)
        head.scale.copy_(torch.where(deviation > SMALLEST, deviation, 1.0))
        standardised = head.standardise(training_set.embeddings)
    load_triton_apart()  # torch's optimisers bring it along
    optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for step in range(config.steps):
        if step % 10 == 0:
            yield Progress(done + step, total, "learning")
        with one_thread():
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(head, standardised, training_set, bad, config, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return head.eval()


def _loss(
    head: Head,
    standardised: Tensor,
    training_set: TrainingSet,
    bad: Tensor,
    config: TeachConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return one step's loss on bags and marked masks drawn at random."""
    drawn = torch.randperm(len(training_set.bags), generator=generator)[:BATCH]
    bags = [_some(training_set.bags[i], DRAWN, generator) for i in drawn.tolist()]
    marked, weights = training_set.marked, training_set.weights
    if len(marked) > MARKED:
        picks = torch.multinomial(weights, MARKED, replacement=True, generator=generator)
        marked, weights = marked[picks], torch.ones(MARKED)
    places = torch.cat([*bags, marked])
    values = standardised[places]
    values = values + NOISE * torch.randn(values.shape, generator=generator)
    logits = _with_dropout(head, values, generator)
    count = len(places) - len(marked)
    loss: Tensor = instance_loss(logits[count:], training_set.allowed[marked], weights)
    if bags:
        sizes = [len(bag) for bag in bags]
        loss = loss + _bag_loss(head, logits[:count], sizes, config, training_set, drawn)
        unsure = bad[places[:count]]
        loss = loss + config.distillation * uncertainty_loss(logits[:count][unsure])
    return loss


def _bag_loss(
    head: Head,
    logits: Tensor,
    sizes: list[int],
    config: TeachConfig,
    training_set: TrainingSet,
    drawn: Tensor,
) -> Tensor:
    """Return the loss of bags whose classes were named.

    If there is an output for none of the classes, a class's score is its logit above that one, and
    none itself is one more class of score 0 that no bag holds: most masks of a bag may be nothing,
    but those that represent its classes may not.
    """
    present, annotated = training_set.present[drawn], training_set.annotated[drawn]
    if not head.nothing:
        return mil_loss(bag_scores(logits, sizes, config.share), present, annotated)
    above = bag_scores(logits[:, :-1] - logits[:, -1:], sizes, config.share)
    zero = above.new_zeros(len(above), 1)
    no, yes = (torch.full((len(above), 1), value) for value in (False, True))
    return mil_loss(
        torch.cat([above, zero], 1), torch.cat([present, no], 1), torch.cat([annotated, yes], 1)
    )


def _with_dropout(head: Head, values: Tensor, generator: torch.Generator) -> Tensor:
    """Run standardised embeddings through a head with dropout."""
    for layer in head.layers:
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            alive = torch.rand(values.shape, generator=generator) >= DROPPED
            values = values * alive / (1 - DROPPED)
    return values


def _some(places: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(places) <= most:
        return places
    return places[torch.randperm(len(places), generator=generator)[:most]]
