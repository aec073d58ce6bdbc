"""Training of the head that names masks: a teacher, then a student that knows what it cannot know.

U-SAM, section 3.5 and 4.  Seconds on a CPU, since masks were turned into vectors before.
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
"""Values of embeddings that deviate by less than this are all the same."""

LEARNING_RATE = 1e-3
"""Of Adam, as in the paper (section 4)."""

BATCH = 64
"""Bags in a step, as in the paper (section 4)."""

DRAWN = 100
"""Masks of a bag that a step looks at, the paper's d; a larger bag is drawn from anew each time."""

MARKED = 512
"""Marked masks that a step looks at."""

NOISE = 0.5
"""Deviation of what is added to standardised embeddings, so that few marks are not memorised."""

DROPPED = 0.3
"""Share of the hidden values that a step leaves out, for the same reason."""

RELIABLE = 0.5
"""Share of the unmarked masks, those least like any marked one, that speak for background."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, not to be held across a ``yield``.

    The steps are so small that several threads gain little, and where other work keeps the cores
    busy they wait for each other ten times as long as one alone takes.  What is learnt does not
    depend on how many cores there are then.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TrainingSet:
    """All masks of all bags, one after the other, as a head is trained on them.

    Attributes
    ----------
    embeddings : Tensor, (M, D) float32
    bags : list of Tensor of int64
        Numbers of the masks of each bag whose classes were named.
    present, known : Tensor, (B, C) bool
        Of the same bags.
    marked : Tensor, (K,) int64
        Numbers of the masks that teach on their own.
    allowed : Tensor, (M, outputs) bool
        What each mask may be.
    weights : Tensor, (K,) float32
        How much each marked mask counts.
    open : Tensor, (M,) bool
        Masks of which nothing is known but their picture's classes.
    """

    embeddings: Tensor
    bags: list[Tensor]
    present: Tensor
    known: Tensor
    marked: Tensor
    allowed: Tensor
    weights: Tensor
    open: Tensor


def prepare(bags: Sequence[Bag], classes: int, unmarked: float) -> tuple[TrainingSet, bool]:
    """Put bags together for training; tells too whether there is an output for no class."""
    bags = [bag for bag in bags if len(bag)]
    if not bags:
        raise InputError(
            "The examples hold no masks to learn from; use larger pictures or other proposals."
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
        known=_flags([bags[i].known for i in named], classes),
        marked=torch.from_numpy(marked),
        allowed=torch.from_numpy(np.concatenate([_allowed(bag, nothing) for bag in bags])),
        weights=torch.from_numpy(instance_weights(codes[marked], unmarked)),
        open=torch.from_numpy(codes == UNKNOWN),
    )
    return training_set, nothing


def _flags(rows: Sequence[NDArray[np.bool_] | None], classes: int) -> Tensor:
    return torch.from_numpy(np.array(rows, bool).reshape(-1, classes))


def _allowed(bag: Bag, nothing: bool) -> NDArray[np.bool_]:
    """Tell what each mask of a bag may be, (N, outputs)."""
    others = np.append(~bag.known, nothing)[: len(bag.known) + nothing]
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
    """Take unmarked masks for unknown where they look like marked ones.

    ``embeddings`` (M, D) float32, ``codes`` (M,) int16; returns (M,) int16.
    """
    left, named = np.flatnonzero(codes == UNMARKED), np.flatnonzero(codes >= 0)
    if not len(left) or not len(named):
        return codes
    spread = embeddings.std(0)
    ready = torch.from_numpy(embeddings / np.where(spread > SMALLEST, spread, 1.0))
    distance = torch.cdist(ready[left], ready[named]).amin(1).numpy()
    alike = distance < np.quantile(distance, 1 - RELIABLE)
    codes = codes.copy()
    codes[left[alike]] = UNKNOWN
    return codes


def instance_weights(codes: NDArray[np.int16], unmarked: float) -> NDArray[np.float32]:
    """Weigh marked masks, so that a frequent class does not drown a rare one.

    A class counts as the square root of its masks, what is certainly none of them likewise.  Masks
    that merely were not marked count as ``unmarked`` times all classes together: where a class
    looks like some of them it still is ``1 / (1 + unmarked)`` sure at least.

    ``codes`` (K,) int16; returns (K,) float32.
    """
    weights = np.zeros(len(codes), np.float32)
    total = 0.0
    for code, count in zip(*np.unique(codes[codes != UNMARKED], return_counts=True), strict=True):
        weights[codes == code] = count**-0.5
        total += count**0.5 * (code >= 0)
    left = codes == UNMARKED
    if left.any():
        # Pictures with nothing marked but the background have no class to compare with.
        weights[left] = unmarked * (total or 1.0) / left.sum()
    return weights


def iter_train_head(
    bags: Sequence[Bag], classes: int, config: TeachConfig
) -> Generator[Progress, None, Head]:
    """Train a head on bags, telling its progress."""
    with one_thread():
        training_set, nothing = prepare(bags, classes, config.unmarked)
    total = config.steps * (2 if config.distillation and len(training_set.bags) else 1)
    shape = (classes, nothing)
    none_bad = torch.zeros(len(training_set.embeddings), dtype=torch.bool)
    teacher = yield from _fit(training_set, none_bad, shape, config, (0, total))
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
    chance = torch.Generator().manual_seed(config.seed + 1_000_003 * (done > 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=chance)))
        head = Head(training_set.embeddings.shape[1], *shape, config.hidden)
    with one_thread():
        head.mean.copy_(training_set.embeddings.mean(0))
        spread = training_set.embeddings.std(0, correction=0)
        head.scale.copy_(torch.where(spread > SMALLEST, spread, 1.0))
        ready = head.standardise(training_set.embeddings)
    load_triton_apart()  # torch's optimisers bring it along
    optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for step in range(config.steps):
        if step % 10 == 0:
            yield Progress(done + step, total, "learning")
        with one_thread():
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(head, ready, training_set, bad, config, chance)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return head.eval()


def _loss(
    head: Head,
    ready: Tensor,
    training_set: TrainingSet,
    bad: Tensor,
    config: TeachConfig,
    chance: torch.Generator,
) -> Tensor:
    """Return one step's loss on bags and marked masks drawn at random."""
    drawn = torch.randperm(len(training_set.bags), generator=chance)[:BATCH]
    bags = [_some(training_set.bags[i], DRAWN, chance) for i in drawn.tolist()]
    marked, weights = training_set.marked, training_set.weights
    if len(marked) > MARKED:
        picks = torch.multinomial(weights, MARKED, replacement=True, generator=chance)
        marked, weights = marked[picks], torch.ones(MARKED)
    places = torch.cat([*bags, marked])
    values = ready[places]
    values = values + NOISE * torch.randn(values.shape, generator=chance)
    logits = _with_gaps(head, values, chance)
    count = len(places) - len(marked)
    loss: Tensor = instance_loss(logits[count:], training_set.allowed[marked], weights)
    if bags:
        sizes = [len(bag) for bag in bags]
        loss = loss + _named(head, logits[:count], sizes, config, training_set, drawn)
        unsure = bad[places[:count]]
        loss = loss + config.distillation * uncertainty_loss(logits[:count][unsure])
    return loss


def _named(
    head: Head,
    logits: Tensor,
    sizes: list[int],
    config: TeachConfig,
    training_set: TrainingSet,
    drawn: Tensor,
) -> Tensor:
    """Return the loss of bags whose classes were named.

    Where there is an output for none of the classes, scores are how far a class is above it, and
    none itself is one more class of score 0 that no bag holds: most masks of a bag may be nothing,
    but those that speak for its classes may not.
    """
    present, known = training_set.present[drawn], training_set.known[drawn]
    if not head.nothing:
        return mil_loss(bag_scores(logits, sizes, config.share), present, known)
    above = bag_scores(logits[:, :-1] - logits[:, -1:], sizes, config.share)
    zero = above.new_zeros(len(above), 1)
    no, yes = (torch.full((len(above), 1), value) for value in (False, True))
    return mil_loss(
        torch.cat([above, zero], 1), torch.cat([present, no], 1), torch.cat([known, yes], 1)
    )


def _with_gaps(head: Head, values: Tensor, chance: torch.Generator) -> Tensor:
    """Run standardised embeddings through a head of which some values are left out."""
    for layer in head.layers:
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            kept = torch.rand(values.shape, generator=chance) >= DROPPED
            values = values * kept / (1 - DROPPED)
    return values


def _some(places: Tensor, most: int, chance: torch.Generator) -> Tensor:
    if len(places) <= most:
        return places
    return places[torch.randperm(len(places), generator=chance)[:most]]
