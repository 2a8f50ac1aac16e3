"""Fills the corpus of the fuzzer with small samples of everything: `python make_corpus.py`."""

from __future__ import annotations

import pickle

from fuzz import keep
from hostile import ABUSED
from make_data import DATA
from test_rebuild import VALUES

LONGEST = 3_000


def main() -> None:
    """Add the samples."""
    samples = [pickle.dumps(value, protocol) for value in VALUES.values() for protocol in (0, 2, 5)]
    samples += [b"\x80\x04" + body + b"." for body in ABUSED.values()]
    samples += [path.read_bytes() for path in sorted(DATA.iterdir())]
    keep(data for data in samples if len(data) <= LONGEST)


if __name__ == "__main__":
    main()
