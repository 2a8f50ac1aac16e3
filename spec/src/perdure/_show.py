"""What a message shows of something that came from outside."""

from __future__ import annotations

import re

__all__ = ["shown", "shown_url"]


def shown(thing: object) -> str:
    """The beginning of its `repr`, or else its type: ints of thousands of digits have none, nor have some objects."""
    try:
        return repr(thing)[:80]
    except Exception:  # whatever the object's own code raises
        return f"a {type(thing).__name__}"


def shown_url(url: object) -> str:
    """The same of what should be a store URL; of one that may hold a password only the first word."""
    if isinstance(url, str) and re.search("[@?=]", url):
        word = re.match(r"[^:/@?=\s]*", url)
        return shown(f"{word[0] if word else ''}…")
    return shown(url)
