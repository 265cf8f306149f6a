"""Patterns of function names, as in the sections ``kprobe.multi/tcp_*`` and ``uprobe.multi/libc.so.6:mem*``."""

from __future__ import annotations

import re
from collections.abc import Callable


def is_pattern(text: str) -> bool:
    """Whether the text is more than a name."""
    return "*" in text or "?" in text


def matcher(pattern: str) -> Callable[[str], object]:
    """A function that tells whether a name fits: ``*`` stands for any letters, ``?`` for one, all else for itself."""
    pieces = re.split(r"([*?])", pattern)
    return re.compile("".join({"*": ".*", "?": "."}.get(piece, re.escape(piece)) for piece in pieces), re.S).fullmatch
