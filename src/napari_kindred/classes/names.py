"""The names of classes, as users write them."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import OptionError
from ..core.options import shown

LONGEST = 100
"""Largest number of characters of a name."""


def tidy(name: str) -> str:
    """Return a name without needless blanks."""
    return " ".join(name.split())


def key(name: str) -> str:
    """Return a name without differences of case, blanks and underscores."""
    return tidy(name).replace("_", " ").casefold()


def split_names(text: str) -> tuple[str, ...]:
    """Read names separated by commas or line breaks, as in a text box or on a command line."""
    parts = (tidy(part) for part in text.replace("\n", ",").split(","))
    return tuple(part for part in parts if part)


def check_names(names: Iterable[str] | str | None) -> tuple[str, ...]:
    """Check the names of classes, in the order in which their labels will be numbered.

    Parameters
    ----------
    names : iterable of str, or str
        One string is split at commas and line breaks.

    Returns
    -------
    tuple of str
        Without needless blanks.

    Raises
    ------
    OptionError
        When there is none, one is repeated, or one is not a name.
    """
    if names is not None and not isinstance(names, Iterable):
        raise OptionError(f"names={shown(names)} are no names of classes; give a list of texts.")
    given = split_names(names) if isinstance(names, str) else tuple(names or ())
    checked: dict[str, str] = {}
    for name in given:
        if not isinstance(name, str):
            raise OptionError(f"{name!r} is no name of a class; write it as text.")
        if not all(letter.isprintable() or letter.isspace() for letter in name):
            raise OptionError(
                f"The name {name!r} has characters that cannot be shown; write it with letters, "
                "digits and blanks."
            )
        clean = tidy(name)
        if not any(letter.isalnum() for letter in clean):
            raise OptionError(f"{name!r} is no name of a class; write at least a letter or digit.")
        if len(clean) > LONGEST:
            raise OptionError(
                f"The name {clean[:20]!r}… has {len(clean)} characters; {LONGEST} are the most."
            )
        if key(clean) in checked:
            raise OptionError(f"The class {clean!r} is named twice; name each class once.")
        checked[key(clean)] = clean
    if not checked:
        raise OptionError("No class is named; write at least one name.")
    return tuple(checked.values())
