"""No file tells where it was made: no machine paths, registries, download addresses or ticket numbers.

Works without git: what `.gitignore` names is passed over, everything else is read.
"""

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The classes of one character keep this file from finding itself.
TRACES = {
    "a machine's path": rb"(?<![\w.])/(?:[w]ork|[r]oot|[o]pt/\w+|[t]mp/pv|[h]ome/\w+|[U]sers/\w+)/",
    "a package registry": rb"(?i)[p]ythonhosted\.|[p]ypi\.org|[a]rtifactory|(?:index-url|find-links)\W*\w+:/",
    "a download address": rb"(?i)[a-z]+://[^\s\"'<>)]+\.(?:whl|tar\.gz|tgz|zip)\b",
    "a ticket number": rb"(?i)\b[i]ssues? #?\d+\b",
}


def files() -> Iterator[Path]:
    """Every file that would be committed, as far as `.gitignore` says."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split() if line]
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            f for f in folders if f != ".git" and not any(fnmatch(f, pattern) for pattern in ignored)
        ]
        yield from (
            Path(folder, n)
            for n in names
            if n != ".git" and not any(fnmatch(n, pattern) for pattern in ignored)
        )


def test_no_file_tells_where_it_was_made() -> None:
    found = []
    for path in sorted(files()):
        data = path.read_bytes()
        for what, pattern in TRACES.items():
            for match in re.finditer(pattern, data):
                line = data.count(b"\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT).as_posix()}:{line}: {what}: {match[0]!r}")
    assert not found, "\n".join(found)


def test_the_search_finds_what_it_is_for() -> None:
    samples = {
        "a machine's path": "/" + "root/project/",
        "a package registry": "https://files.python" + "hosted.org/x",
        "a download address": "https://example.org/perdure-1.0.0." + "whl",
        "a ticket number": "see issue" + " 12",
    }
    for what, sample in samples.items():
        assert re.search(TRACES[what], sample.encode()), what
