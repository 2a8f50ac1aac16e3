"""What the readers of containers share: limits, the report, and machines for the pickles inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perdure import InvalidRecord

from perdure_migrate.inert._compression import Budget
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._machine import Machine
from perdure_migrate.inert._report import Report
from perdure_migrate.inert._zones import ZoneOf

__all__ = ["Context"]


@dataclass(slots=True)
class Context:
    """One file that is being read.

    Attributes:
        limits: What it may cost.
        report: What its pickles name, all together.
        zone: Finds time zones.
        budget: How many bytes may come out of containers inside.
        buffers: Out-of-band buffers, if any were given.
        shared_memo: Whether the pickles of a stream refer to one another.
    """

    limits: Limits
    report: Report
    zone: ZoneOf
    budget: Budget
    buffers: Sequence[bytes] | None = None
    shared_memo: bool = False

    def machine(self, data: bytes) -> Machine:
        """A machine that reads these bytes."""
        return Machine(data, self.limits, self.report, self.zone, self.buffers)

    def pickle(self, data: bytes, where: str) -> Any:
        """The value of bytes that are one pickle and nothing else.

        Raises:
            InvalidRecord: They are not, or it passes a limit; the message says where they are.
        """
        machine = self.machine(data)
        try:
            value = machine.read()
        except InvalidRecord as error:
            raise InvalidRecord(f"{where}: {error.message}", **error.detail) from (error.__cause__ or error)
        if machine.pos < machine.size:
            left = machine.size - machine.pos
            raise InvalidRecord(f"{where}: {left} bytes follow the end of its pickle; the file is damaged.")
        return value
