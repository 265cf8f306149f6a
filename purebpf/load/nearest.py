"""Names that a misspelt one may have meant, out of the many that a kernel has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MANY = 5000
"""More names than this are not all compared, as that would take seconds: only those that share an end or contain it."""


def suggestion(near: Sequence[str]) -> str:
    """The end of a message about a name that does not exist, if there are some that may have been meant."""
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look most like ``name``, the nearest first."""
    known = set(names)
    if len(known) > _MANY:
        begin, end = name[:4], name[-6:]
        known = {other for other in known if other.startswith(begin) or other.endswith(end) or name in other}
    return difflib.get_close_matches(name, sorted(known), 3, 0.7)
