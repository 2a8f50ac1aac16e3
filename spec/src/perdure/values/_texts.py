"""Many texts looked at together, which spares most of what a look at each of them costs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure._errors import InvalidRecord
from perdure.values._limits import DEFAULT_LIMITS, check_bounds, has_long_number

__all__ = ["are_plain"]

_from_lines = msgspec.json.Decoder().decode_lines
_to_lines = msgspec.json.Encoder().encode_lines

#: Characters beyond which the texts are not joined, so that little memory is taken for them.
_MOST = 1 << 20

#: A text of at most so many characters cannot pass a limit: every open bracket needs its closing one.
_SHORT = 2 * DEFAULT_LIMITS.max_depth


def are_plain(texts: Sequence[str]) -> bool:
    """Whether each text is canonical and plain, so that `decode` would take it with the default limits.

    False may also mean that one look at all of them cannot tell: then look at each.
    """
    if sum(map(len, texts)) > _MOST:
        return False
    try:
        for text in texts:
            if len(text) > _SHORT:
                check_bounds(text, DEFAULT_LIMITS, tagged=False)
        lines = ("\n".join(texts) + "\n").encode()
        if b'{"$' in lines or b',"$' in lines or has_long_number(lines):
            return False
        # What is written has no newline but at the ends. So where as many values as texts were read, and
        # they are written as they were read, each line is one text, and each text one canonical value.
        trees = _from_lines(lines)
        return len(trees) == len(texts) and _to_lines(trees) == lines
    except (InvalidRecord, msgspec.MsgspecError, ValueError, RecursionError):
        return False
