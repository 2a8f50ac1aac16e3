"""What a message shows of something that came from outside."""

from __future__ import annotations

__all__ = ["shown"]


def shown(thing: object) -> str:
    """The beginning of its `repr`, or else its type: ints of thousands of digits have none, nor have some objects."""
    try:
        return repr(thing)[:80]
    except Exception:  # whatever the object's own code raises
        return f"a {type(thing).__name__}"
