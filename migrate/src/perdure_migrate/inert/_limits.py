"""What a pickle may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields

from perdure import InvalidInput

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that reading one stream may take; every limit raises `InvalidRecord` when it is passed.

    The defaults admit any store of ordinary size. Work and copies that a pickle can ask for again and again
    by reference are bounded on top of these, in proportion to the length of the input.

    Attributes:
        max_bytes: Length of the stream after decompression, in bytes.
        max_expansion: Decompressed length over compressed length (the first 1 MiB is always admitted).
        max_nodes: Containers, stand-ins and rebuilt objects in one pickle.
        max_memo: Entries of the memo.
        max_stack: Values on the stack, marks included.
        max_depth: Containers nested in one another, on the longest path without a repetition.
        max_int_digits: Decimal digits of one integer or decimal number.
        max_memory: Memory of the reader's process beyond what it has when it starts, in bytes; like the two
            below, it holds where a `Reader` reads, in a process of its own.
        max_cpu: Processor time for one file, in seconds.
        max_seconds: Time for one file, in seconds.
    """

    max_bytes: int = 2**30
    max_expansion: int = 200
    max_nodes: int = 10_000_000
    max_memo: int = 20_000_000
    max_stack: int = 20_000_000
    max_depth: int = 1_000
    max_int_digits: int = 20_000
    max_memory: int = 2**33
    max_cpu: int = 3_600
    max_seconds: int = 14_400

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise InvalidInput(f"Limits.{field.name} must be a positive int, not {value!r}")
