"""Texts that any terminal, file and parser takes."""

from __future__ import annotations

import os
import re
import site
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["clean", "impersonal", "masked", "shown_url"]

_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_PASSWORD = re.compile(r"(?i)(password=)[^&\s'\"]*")


def clean(text: str) -> str:
    """The text with control characters and lone surrogates escaped; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t " else ascii(char)[1:-1] for char in text)


def impersonal(text: str) -> str:
    """The text without passwords and without the directories of this machine, for a report that travels."""
    for path, name in _places():
        text = text.replace(path, name)
    return clean(_PASSWORD.sub(r"\1…", _USER.sub("…@", text)))


def masked(url: str) -> str:
    """A store URL without its password, for the person that gave it."""
    scheme, colon, rest = _PASSWORD.sub(r"\1…", url).partition("://")
    user, at, place = rest.rpartition("@")
    name, secret, _ = user.partition(":")
    return f"{scheme}{colon}{name}{':…' if secret else ''}{at}{place}"


@cache
def _places() -> tuple[tuple[str, str], ...]:
    """Directories of this machine and what is said instead, the longest first."""
    packages = [*site.getsitepackages(), site.getusersitepackages(), *sys.path, sys.prefix, sys.base_prefix]
    packages.append(str(Path(__file__).parents[2]))
    found = {os.path.realpath(path): "…" for path in packages if path}
    found |= {path: "…" for path in packages if path}
    found[tempfile.gettempdir()] = found[os.path.realpath(tempfile.gettempdir())] = "{tmp}"
    found[str(Path.home())] = "~"
    return tuple(sorted(((p, n) for p, n in found.items() if len(p) > 3), key=lambda pair: -len(pair[0])))


def shown_url(template: str) -> str:
    """A store URL without host, user, options and directories: they are nobody's business but the owner's."""
    scheme, _, rest = template.partition("://")
    last = rest.partition("?")[0].rpartition("/")[2].rpartition("@")[2] if "/" in rest else ""
    return impersonal(f"{scheme}://…/{last}" if last else f"{scheme}://…")
