"""One class of a vocabulary: its name, synonyms, colour and threshold."""

from __future__ import annotations

from dataclasses import dataclass

from ..names import key


@dataclass(frozen=True, slots=True)
class Entry:
    """One class.

    Attributes
    ----------
    name : str
    synonyms : tuple of str
        Other words for it.  Several classes may share one, which then stands for all of them.
    colour : str
        ``#rrggbb``.
    threshold : float
        Minimum confidence of the class, 0..1.
    extent : float
        Usual diameter of a whole object in pixels, by the boxes that it was taught with; 0 if
        unknown.  What is found in parts is put together up to this size.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    colour: str = "#ff7f0e"
    threshold: float = 0.7
    extent: float = 0.0

    def answers_to(self, name: str) -> bool:
        """Whether a name is this class's own or one of its synonyms; case does not count."""
        return key(name) in {key(word) for word in (self.name, *self.synonyms)}
