"""Feeds the reader with what nobody would write: `python fuzz.py --seconds 1800`.

Atheris drives it, by coverage, where it is installed (`--engine atheris`); else Hypothesis does, over opcodes and over
edits of the corpus. Every input must end in a value that survives the way between two processes, or in a
`PerdureError`, in a time that its length allows. What does not is added to the corpus, and printed.
"""

from __future__ import annotations

import argparse
import hashlib
import pickletools
import random
import signal
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from perdure import PerdureError
from perdure_migrate.inert import Limits, Report, _wire
from perdure_migrate.inert._containers import Parts, Tools, read_container
from perdure_migrate.inert._zones import every_zone

#: One input a line, in base64.
CORPUS = Path(__file__).parent / "corpus.txt"
LIMITS = Limits(max_bytes=2**20, max_nodes=10_000, max_stack=10_000, max_memo=10_000, max_depth=300)
TOOLS = Tools(every_zone().get)

#: Processor time that no input of the fuzzer's size may need, in seconds.
HANGS = 20

OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
NAMES = [
    b"cos\nsystem\n", b"cbuiltins\nset\n", b"cbuiltins\nbytearray\n", b"cbuiltins\ngetattr\n", b"cbuiltins\nrange\n",
    b"ccopyreg\n_reconstructor\n", b"ccopyreg\n__newobj__\n", b"ccollections\nOrderedDict\n", b"ccollections\ndeque\n",
    b"cdatetime\ndatetime\n", b"cdatetime\ntimedelta\n", b"cdecimal\nDecimal\n", b"cfractions\nFraction\n", b"cuuid\nUUID\n",
    b"cpathlib\nPosixPath\n", b"czoneinfo\nZoneInfo._unpickle\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n", b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy._core.multiarray\nscalar\n",
    b"cnumpy._core.numeric\n_frombuffer\n", b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
]  # fmt: skip
PARTS = [
    b"K\x00", b"K\x01", b"K\xff", b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"M\x00\x01", b"G" + bytes(8), b"G\x7f\xf8\0\0\0\0\0\1", b"N", b"\x88", b")", b"]", b"}", b"\x8f", b"(",
    b"X\x01\0\0\0a", b"X\x03\0\0\0int", b"X\x02\0\0\0f8", b"X\x02\0\0\0O8", b"X\x01\0\0\0C",
    b"X\x06\0\0\0latin1", b"C\x08" + bytes(8), b"C\x01b", b"U\x02\xff\xfe", b"S'a'\n", b"I01\n", b"\x94",
    b"q\x00", b"h\x00", b"h\x01", b"q\x01", b"2", b"0", b"1", b"t", b"\x85", b"\x86", b"\x87", b"l", b"d",
    b"a", b"e", b"s", b"u", b"\x90", b"\x91", b"R", b"b", b"\x81", b"\x92", b"o", b"\x93", b"Q", b"P1\n",
    b"\x97", b"\x98", b"\x82\x01",
]  # fmt: skip


def one(data: bytes) -> bool:
    """Read one input; whether it gave a value."""
    try:
        _, _, value = read_container(Parts(None, [data]), LIMITS, Report(), TOOLS)
        columns = _wire.dumps(value)
    except PerdureError:
        return False
    again = _wire.dumps(_wire.loads(columns))
    assert Counter(again[0]) == Counter(columns[0]), "the value is another after its way"
    return True


def corpus() -> list[bytes]:
    """What the repository keeps."""
    return [b64decode(line) for line in CORPUS.read_text(encoding="ascii").split()]


def keep(inputs_: Iterable[bytes]) -> None:
    """Add inputs to what the repository keeps."""
    known = corpus() if CORPUS.exists() else []
    lines = sorted(
        {b64encode(data).decode() for data in (*known, *inputs_)}, key=lambda line: (len(line), line)
    )
    CORPUS.write_text("\n".join(lines) + "\n", encoding="ascii")


@st.composite
def edited(draw: Any, samples: list[bytes]) -> bytes:
    """A sample with some parts of it replaced, doubled or cut out."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        insert = (
            st.sampled_from(OPCODES + NAMES + PARTS)
            | st.binary(max_size=4)
            | st.just(bytes(data[start:end]) * 2)
        )
        data[start:end] = draw(insert)
    return bytes(data)


def written() -> st.SearchStrategy[bytes]:
    """A stream of opcodes that mostly fit."""
    parts = st.lists(st.sampled_from(NAMES + PARTS * 3 + OPCODES) | st.binary(max_size=3), max_size=40)
    return parts.map(lambda found: b"\x80\x04" + b"".join(found) + b".")


def inputs() -> st.SearchStrategy[bytes]:
    """What Hypothesis feeds the reader with."""
    return written() | edited(corpus()) | st.binary(max_size=100)


def by_hypothesis(seconds: int, start: int) -> int:
    """Feed inputs until the time is over; how many."""
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:

        @seed(start + count)
        @settings(
            max_examples=500, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(inputs())
        def feed(data: bytes) -> None:
            nonlocal count
            count += 1
            watched(data)

        feed()
    return count


def watched(data: bytes) -> None:
    """As `one`; an input that fails, or takes too long, is kept."""
    signal.setitimer(signal.ITIMER_PROF, HANGS)
    try:
        one(data)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            keep([data])
            print(f"{data.hex()}: {type(error).__name__}: {error}", file=sys.stderr)
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def by_atheris(seconds: int, start: int, folder: Path) -> None:
    """Let libFuzzer find its way by coverage; it ends the program, and leaves what it found in the folder."""
    import atheris

    folder.mkdir(exist_ok=True)
    for data in corpus():
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    atheris.instrument_all()
    options = [
        f"-max_total_time={seconds}",
        f"-seed={start}",
        f"-timeout={HANGS}",
        "-max_len=2000",
        "-rss_limit_mb=2000",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(folder)], one)
    atheris.Fuzz()


def _too_long(*_: object) -> None:
    raise TimeoutError(f"an input took more than {HANGS} seconds")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    parser.add_argument("--folder", type=Path, help="where atheris keeps what it finds")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="only add the inputs of a folder to the corpus"
    )
    given_ = parser.parse_args()
    if given_.keep:
        keep(path.read_bytes() for path in given_.keep.iterdir())
        return
    signal.signal(signal.SIGPROF, _too_long)
    print(f"seed {given_.seed}", flush=True)
    if given_.engine == "atheris":
        by_atheris(given_.seconds, given_.seed, given_.folder or Path(mkdtemp(prefix="fuzz-")))
    else:
        print(f"{by_hypothesis(given_.seconds, given_.seed)} inputs, all answered")


if __name__ == "__main__":
    main()
