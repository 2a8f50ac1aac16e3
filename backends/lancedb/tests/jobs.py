"""What tests run in processes of their own. A job says `ready`, and begins when it is sent a line."""

import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import perdure
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._options import parse_url
from perdure_lancedb._s3 import S3Objects


def opened(url: str) -> LocalObjects | S3Objects:
    options = parse_url(url, "rw")
    if options.directory is not None:
        return LocalObjects(options.directory, create=not options.read_only)
    return S3Objects(options, create=not options.read_only)


def ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def race(url: str, names: str) -> list[str]:
    """Open a store that others open too, and create the same objects as they; the names that it won."""
    ready()
    objects, mine = opened(url), os.urandom(16)
    won = [
        name for name in (f"log/{number:06d}" for number in range(int(names))) if objects.create(name, mine)
    ]
    assert all(objects.read(name) == mine for name in won)
    return won


def stream(url: str) -> None:
    """Create objects without end, and tell of each."""
    ready()
    objects = opened(url)
    for number in range(10**9):
        assert objects.create(f"log/{number:09d}", b"%d " % number * 5_000)
        print(number, flush=True)


def limited(url: str, limit: str) -> list[str]:
    """Create objects where no file may be larger than that."""
    ready()
    objects = opened(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        objects.create("log/large", bytes(2 * int(limit)))
    except perdure.StorageError as error:
        assert objects.create("log/small", b"small")
        return [type(error).__name__, str(error)]
    return []


def stranger(url: str) -> list[str]:
    """Use a store as somebody who may only read it."""
    ready()
    if os.getuid() == 0:
        os.setgid(65_534)
        os.setuid(65_534)
    try:
        opened(url)
    except perdure.PermissionDenied as error:
        objects = opened(f"{url}?mode=ro")
        try:
            objects.create("log/1", b"1")
        except perdure.PermissionDenied as refused:
            return [str(error), str(refused), str(objects.read("log/0"))]
    return []


def fork(url: str) -> list[str]:
    """Use a store, fork, and use it again in the child: the one that is open, and a new one."""
    ready()
    objects = opened(url)
    objects.create("log/0", b"0")
    told = []
    for use in (lambda: objects.read("log/0"), lambda: opened(url)):
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                use()
                os.write(sink, b"it went")
            except perdure.PerdureError as error:
                os.write(sink, f"{type(error).__name__}: {error}".encode())
            finally:
                objects.close()
                os._exit(0)
        os.close(sink)
        told.append(os.read(source, 10_000).decode())
        assert os.waitpid(child, 0) == (child, 0)
    assert objects.read("log/0") == b"0"
    return told


JOBS: dict[str, Callable[..., Any]] = {
    "race": race,
    "stream": stream,
    "limited": limited,
    "stranger": stranger,
    "fork": fork,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
