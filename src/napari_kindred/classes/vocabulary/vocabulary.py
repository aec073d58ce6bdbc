"""Vocabularies: classes trained by examples, in one small file that can be shared.

A vocabulary holds the masks that it was trained on, as embeddings, so that its classes can be
merged, or joined with those of another vocabulary, and trained again in seconds (U-SAM, section on
changed granularity).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.colors import hexadecimal
from ...core.errors import OptionError
from ...core.events import Progress, finish
from ..config import TeachConfig
from ..names import check_names, key, tidy
from . import files
from .mil import Head
from .quality import iter_quality
from .train_head import iter_train_head

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..config import Threshold
    from ..pixelwise.head import PixelHead
    from ..proposals.base import ProposerSpec
    from .entry import Entry
    from .mil import Bag

SHOWN = 24
"""Largest number of names that an error message lists."""


@dataclass(frozen=True, eq=False, repr=False)
class Vocabulary:
    """Trained classes, and all that is needed to use them and to train them again.

    Attributes
    ----------
    entries : tuple of Entry
        In the order of the head's outputs.
    head : Head or PixelHead
    spec : ProposerSpec
        How masks and embeddings were made; others cannot be scored.
    bags : tuple of Bag
        The training data; embeddings in half precision.
    config : TeachConfig
        How it was trained.
    quality : dict
        Measured on examples left out, see :func:`.quality.iter_quality`; empty if it was not.
    origin : str
        Where the examples came from, in words.
    """

    entries: tuple[Entry, ...]
    head: Head | PixelHead
    spec: ProposerSpec
    bags: tuple[Bag, ...]
    config: TeachConfig = field(default_factory=TeachConfig)
    quality: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self.entries)} classes: {', '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(entry.name for entry in self.entries)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file that it was read from, or would be written to, hexadecimal digits."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    # -- use --------------------------------------------------------------------------------

    def members(self, name: str) -> tuple[int, ...]:
        """Return the numbers of all classes that a name stands for.

        A class's own name stands for it alone; a synonym for every class that has it.  OptionError,
        listing the vocabulary's names and other ways to define one, if it stands for none.
        """
        wanted = key(name)
        for number, entry in enumerate(self.entries):
            if key(entry.name) == wanted:
                return (number,)
        found = tuple(i for i, entry in enumerate(self.entries) if entry.answers_to(name))
        if not found:
            raise OptionError(
                f"The vocabulary does not know {tidy(name)!r}; it knows {self._listing()}. Use one "
                "of these, give examples of it, or define it with CLIP."
            )
        return found

    def lookup(self, name: str) -> int:
        """Return the number of the first class that a name stands for; see :meth:`members`."""
        return self.members(name)[0]

    def groups(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the numbers of the classes of each name; OptionError if two share one."""
        groups = [self.members(name) for name in names]
        owner: dict[int, int] = {}
        for place, group in enumerate(groups):
            for number in group:
                if number in owner:
                    raise OptionError(
                        f"Both {names[owner[number]]!r} and {names[place]!r} mean the class "
                        f"{self.entries[number].name!r}; ask for one of them."
                    )
                owner[number] = place
        return groups

    def colours(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the colours of names; OptionError as for :meth:`scores`."""
        return tuple(self.entries[group[0]].colour for group in self.groups(names))

    def thresholds(self, names: Sequence[str], threshold: Threshold) -> NDArray[np.float32]:
        """Return the thresholds of names, (C,): the given one, or each class's own for "auto"."""
        own = [self.entries[self.lookup(name)].threshold for name in names]
        return np.array([value if threshold == "auto" else threshold for value in own], np.float32)

    def scores(
        self, embeddings: NDArray[np.floating], names: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Score masks for names.

        Parameters
        ----------
        embeddings : ndarray, shape (N, D)
            Of proposals with this vocabulary's spec.
        names : sequence of str, optional
            All classes by default.

        Returns
        -------
        ndarray of float32, shape (N, len(names))
            Probabilities 0..1 among all classes of the vocabulary: the rest to 1 is another class,
            or none.

        Raises
        ------
        OptionError
            For an unknown name, or two that stand for the same class, or embeddings of another
            length.
        """
        groups = self.groups(self.names if names is None else names)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.head.dimension:
            raise OptionError(
                f"The vocabulary scores vectors of length {self.head.dimension}, not arrays of "
                f"shape {embeddings.shape}; make them with its spec."
            )
        every = self.head.probabilities(embeddings)
        found = np.zeros((len(every), len(groups)), np.float32)
        for place, group in enumerate(groups):
            found[:, place] = every[:, list(group)].sum(1)
        return found.clip(0, 1)

    def check(self, spec: ProposerSpec) -> None:
        """Raise OptionError, naming both encoders and hashes, for proposals made in another way."""
        if not self.spec.matches(spec):
            raise OptionError(
                f"The vocabulary was trained with {_identity(self.spec)}, but here are "
                f"{_identity(spec)}; use those it was trained with, or train it again."
            )

    # -- granularity and sharing ------------------------------------------------------------

    def regroup(self, groups: Mapping[str, Sequence[str]]) -> Vocabulary:
        """Merge classes and train them again, which takes seconds.

        Parameters
        ----------
        groups : mapping of str to sequence of str
            New names, each with the names of its classes; other classes stay.

        Raises
        ------
        OptionError
            For an unknown class, one in two groups, or a new name that another class has.

        Examples
        --------
        >>> groups = {"blood cell": ["red cell", "white cell"]}
        >>> coarse = vocabulary.regroup(groups)  # doctest: +SKIP
        """
        return finish(self.iter_regroup(groups))

    def iter_regroup(
        self, groups: Mapping[str, Sequence[str]]
    ) -> Generator[Progress, None, Vocabulary]:
        """Merge classes, yielding the progress; see :meth:`regroup`."""
        target: dict[int, str] = {}
        for name, members in groups.items():
            for number in {i for member in members for i in self.members(member)}:
                if number in target:
                    raise OptionError(
                        f"The class {self.entries[number].name!r} is in two groups, "
                        f"{target[number]!r} and {name!r}; leave it in one."
                    )
                target[number] = name
        if not target:
            raise OptionError("There is nothing to put together; name the classes of each group.")
        entries: list[Entry] = []
        to = np.zeros(len(self.entries), np.int16)
        for number, entry in enumerate(self.entries):
            name = target.get(number, entry.name)
            places = [i for i, e in enumerate(entries) if key(e.name) == key(name)]
            if not places:
                places = [len(entries)]
                # The synonyms of merged classes would be too narrow, or too wide, for it.
                merged = replace(entry, name=tidy(name), synonyms=())
                entries.append(merged if number in target else entry)
            to[number] = places[0]
        check_names([*groups, *(e.name for i, e in enumerate(self.entries) if i not in target)])
        bags = [bag.mapped(to, len(entries)) for bag in self.bags]
        return (yield from iter_fit(entries, self.spec, bags, self.config, self.origin))

    def merge(self, other: Vocabulary) -> Vocabulary:
        """Join with another vocabulary and train both again, which takes seconds.

        Classes of the same name, or whose name is the other's synonym, become one.  A mask of none
        of the classes of one vocabulary may still be of a class of the other.

        Raises
        ------
        OptionError
            When they were trained with different encoders, naming both hashes.
        """
        return finish(self.iter_merge(other))

    def iter_merge(self, other: Vocabulary) -> Generator[Progress, None, Vocabulary]:
        """Join with another vocabulary, yielding the progress; see :meth:`merge`."""
        self.check(other.spec)
        entries = list(self.entries)
        to = np.zeros(len(other.entries), np.int16)
        for number, entry in enumerate(other.entries):
            same = [i for i, mine in enumerate(self.entries) if _same(mine, entry)]
            if same:
                place = same[0]
                words = {key(word): word for word in (*entries[place].synonyms, *entry.synonyms)}
                words.pop(key(entries[place].name), None)
                entries[place] = replace(entries[place], synonyms=tuple(words.values()))
            else:
                place = len(entries)
                entries.append(replace(entry, colour=free_colour(entry.colour, entries)))
            to[number] = place
        mine = np.arange(len(self.entries), dtype=np.int16)
        bags = [bag.mapped(mine, len(entries)) for bag in self.bags]
        bags += [bag.mapped(to, len(entries)) for bag in other.bags]
        origin = "; ".join(dict.fromkeys(filter(None, (self.origin, other.origin))))
        return (yield from iter_fit(entries, self.spec, bags, self.config, origin))

    def with_entries(self, entries: Sequence[Entry]) -> Vocabulary:
        """Return the same classes with other names, synonyms, colours or thresholds."""
        if len(entries) != len(self.entries):
            raise OptionError(f"{len(self.entries)} classes need as many entries.")
        check_names([entry.name for entry in entries])
        return replace(self, entries=tuple(entries))

    # -- files ------------------------------------------------------------------------------

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the vocabulary to a ``.kindred`` file, in one piece.

        Raises
        ------
        OutputError
            When it cannot be written, has another ending, or is there already.
        """
        return files.save(self.to_bytes(), Path(path), overwrite)

    def to_bytes(self) -> bytes:
        """Return the content of its file, the same for the same vocabulary."""
        return files.to_bytes(
            self.entries, self.head, self.spec, self.bags, self.config, self.quality, self.origin
        )

    @classmethod
    def load(cls, name_or_path: str | Path) -> Vocabulary:
        """Read a vocabulary: a ``.kindred`` file, or a shipped one such as ``"microscopy"``.

        Raises
        ------
        WeightsError
            When there is none of that name, or the file is damaged or something else.
        """
        parts, sha256 = files.load(name_or_path)
        vocabulary = cls(*parts)
        # Written again by a version that has more options, it would be another file.
        vars(vocabulary)["sha256"] = sha256
        return vocabulary

    def _listing(self) -> str:
        names = [
            f"{entry.name} ({', '.join(entry.synonyms[:2])})" if entry.synonyms else entry.name
            for entry in self.entries
        ]
        more = len(names) - SHOWN
        return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def iter_fit(
    entries: Sequence[Entry],
    spec: ProposerSpec,
    bags: Sequence[Bag],
    config: TeachConfig,
    origin: str = "",
) -> Generator[Progress, None, Vocabulary]:
    """Train a vocabulary on bags, and measure it on some of them left out."""
    # It is trained on what it saves, so that training again gives the same.
    saved = tuple(replace(bag, embeddings=halved(bag.embeddings)) for bag in bags if len(bag))
    head = yield from iter_learn(saved, len(entries), spec, config)
    if isinstance(head, Head):
        for value in head.state_dict().values():
            value.copy_(value.half().float())
    learn = partial(iter_learn, spec=spec)
    names = [entry.name for entry in entries]
    quality = yield from iter_quality(saved, names, config, spec, learn)
    return Vocabulary(tuple(entries), head, spec, saved, config, quality, origin)


def iter_learn(
    bags: Sequence[Bag], classes: int, spec: ProposerSpec, config: TeachConfig
) -> Generator[Progress, None, Head | PixelHead]:
    """Train the head that fits what is classified."""
    if spec.kind != "pixels":
        return (yield from iter_train_head(bags, classes, config))
    from ..pixelwise.head import iter_train_pixel_head

    return (yield from iter_train_pixel_head(bags, classes, spec.options["filters"], config))


def halved(embeddings: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return vectors in half precision, cut off where that ends."""
    largest = float(np.finfo(np.float16).max)
    short: NDArray[np.float16] = np.clip(embeddings, -largest, largest).astype(np.float16)
    return short


def free_colour(wanted: str, entries: Sequence[Entry]) -> str:
    """Return a colour that no entry has, the wanted one if it is free."""
    taken = {entry.colour.lower() for entry in entries}
    if wanted.lower() not in taken:
        return wanted
    return next((c for c in map(hexadecimal, range(len(taken) + 1)) if c not in taken), wanted)


def _same(mine: Entry, other: Entry) -> bool:
    return mine.answers_to(other.name) or other.answers_to(mine.name)


def _identity(spec: ProposerSpec) -> str:
    scale = spec.options.get("entities", {}).get("scale", "auto")
    scaled = "" if spec.kind != "pixels" or scale == "auto" else f" at scale {scale:g}"
    return f"{spec.kind} of {spec.encoder}{scaled} (sha256 {spec.sha256[:12]}…)"
