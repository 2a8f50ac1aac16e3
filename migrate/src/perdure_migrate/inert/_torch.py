"""Files of torch: the zip archives of today, and the streams of pickles and raw storages from before 1.6."""

from __future__ import annotations

from typing import Any

from perdure import InvalidRecord

from perdure_migrate.inert._context import Context
from perdure_migrate.inert._machine import Machine
from perdure_migrate.inert._tensor import Storages, Wanted
from perdure_migrate.inert._zip import Archive

__all__ = ["LEGACY", "pickle_of", "read_torch", "read_torch_stream"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

#: How a stream begins: the pickle of its magic number.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def pickle_of(archive: Archive) -> str | None:
    """The name of the pickle in an archive of torch; None: it is of something else."""
    found = [name for name in archive.names if name == "data.pkl" or name.endswith("/data.pkl")]
    return found[0] if len(found) == 1 else None


def read_torch(archive: Archive, name: str, context: Context) -> Any:
    """What an archive holds, its tensors as arrays.

    Raises:
        InvalidRecord: It is damaged, or passes a limit.
    """
    folder = name.removesuffix("data.pkl")
    order = archive.read(folder + "byteorder") if folder + "byteorder" in archive.names else b"little"
    if order not in (b"little", b"big"):
        raise InvalidRecord("the byte order of the tensors is malformed. The file is damaged; copy it again.")
    machine = context.machine(archive.read(name))
    Storages(machine, lambda key, _: archive.read(f"{folder}data/{key}"), order == b"big")
    return _whole(machine)


def _whole(machine: Machine) -> Any:
    value = machine.read()
    if machine.pos < machine.size:
        raise InvalidRecord(f"{machine.size - machine.pos} bytes follow the pickle; the file is damaged.")
    return value


def read_torch_stream(data: bytes, context: Context) -> Any:
    """What a stream holds. Its storages follow its pickle, which is read again once they are known.

    Raises:
        InvalidRecord: It is damaged, or passes a limit.
    """
    machine = context.machine(data)
    head = []
    for _ in range(3):
        machine.forget()
        head.append(machine.read())
    system = head[2]
    if head[:2] != [_MAGIC, _PROTOCOL] or type(system) is not dict:
        raise InvalidRecord("the head of a torch stream is malformed. The file is damaged; copy it again.")
    big = system.get("little_endian") is False
    start = machine.pos
    machine.forget()
    first = Storages(machine, lambda key, wanted: None, big)
    machine.read()
    machine.persistent = None
    machine.forget()
    keys = machine.read()
    if type(keys) is not list or any(type(key) is not str for key in keys) or {*keys} != first.wanted.keys():
        raise InvalidRecord(
            "the storages of a torch stream are malformed. The file is damaged; copy it again."
        )
    found = {key: _storage(machine, first.wanted[key], key, big) for key in keys}
    if machine.pos < machine.size:
        raise InvalidRecord(
            f"{machine.size - machine.pos} bytes follow the last tensor; the file is damaged."
        )
    machine.pos = start
    machine.forget()
    Storages(machine, lambda key, wanted: found.get(key), big)
    return machine.read()


def _storage(machine: Machine, wanted: Wanted, key: str, big: bool) -> bytes:
    """The next storage: the number of its items, then their bytes."""
    count = int.from_bytes(machine.take(8), "big" if big else "little")
    if count != wanted.count:
        raise InvalidRecord(
            f"storage {key!r} has {count} items instead of {wanted.count}; the file is damaged."
        )
    return machine.take(count * wanted.width)
