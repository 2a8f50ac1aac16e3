"""Zip archives as torch and NumPy write them, within limits."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from typing import Any

from perdure import InvalidRecord

from perdure_migrate.inert._compression import Budget

__all__ = ["Archive"]

_BAD = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,  # it is encrypted
    ValueError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
)


class Archive:
    """The files of an archive by name; each is taken out when it is asked for.

    Attributes:
        names: The names of the files, in the order of the archive; directories are left out.
    """

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._budget = budget
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            found = [one for one in self._zip.infolist() if not one.is_dir()]
        except _BAD as error:
            raise _damaged(error) from error
        self._entries: dict[str, Any] = {one.filename: one for one in found}
        self.names = list(self._entries)
        if len(self.names) != len(found):
            raise InvalidRecord("a name stands twice in the archive; unpack it and choose.")

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InvalidRecord: It is not there, is damaged, or becomes too long.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise InvalidRecord(f"{name!r} is missing in the archive. The file is damaged; copy it again.")
        try:
            with self._zip.open(entry) as file:
                data = file.read(self._budget.left + 1)
                self._budget.spend(len(data))
                rest = file.read(1)  # where all was read, this checks the sum
        except InvalidRecord:
            raise
        except _BAD as error:
            raise _damaged(error) from error
        if rest or len(data) != entry.file_size:
            raise InvalidRecord(f"{name!r} is not as long as the archive says. Copy the file again.")
        return data


def _damaged(error: Exception) -> InvalidRecord:
    return InvalidRecord(f"zip: {error}. The file is damaged; copy it again.")
