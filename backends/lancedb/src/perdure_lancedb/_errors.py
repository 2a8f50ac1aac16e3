"""Errors of files, object storage and LanceDB as errors of the perdure tree."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import obstore.exceptions as obs
from perdure import (
    Busy,
    CorruptStore,
    IncompatibleStore,
    InvalidURL,
    NotFound,
    PerdureError,
    PermissionDenied,
    StorageError,
    Unavailable,
    Unsupported,
)

__all__ = ["hide", "mask", "translate", "translated"]

#: The credentials that this process has used; drivers quote a request, or what a server says of it.
_secrets: set[str] = set()

#: What LanceDB, pyarrow and obstore raise; some of LanceDB's are plain RuntimeError or ValueError.
_DRIVERS = (OSError, ValueError, RuntimeError, NotImplementedError, KeyError, obs.BaseError)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_CROWDED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
_OTHER_KIND = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)

#: LanceDB gives no error numbers and no types, only texts.
_NUMBER = re.compile(r"\(os error (\d+)\)")
_REFUSED = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|"
    r"\b40[13] (Forbidden|Unauthorized)|RequestTimeTooSkewed"
)
_ELSEWHERE = re.compile(
    r"AuthorizationHeaderMalformed|configured region|PermanentRedirect|IllegalLocationConstraint"
)
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist")
_REMOTE = re.compile(
    r"error sending request|Generic S3 error|HTTP error|timed out|Connection (refused|reset)"
)
_CONFLICT = re.compile(r"commit conflict|[Pp]lease retry|Too many concurrent writers")
_MISSING = re.compile(r"[Nn]ot found")
_DAMAGED = re.compile(r"corrupt|magic number|truncated|Invalid (data|user input: .*metadata)|decode", re.I)


def translate(error: BaseException, place: str = "the store") -> PerdureError:
    """The perdure error that a driver's error means.

    Args:
        error: The driver's.
        place: The store, for the message.
    """
    # After the message, obstore's errors show what Rust holds, over many lines.
    text = " ".join(str(error).partition("Debug source:")[0].split()) or type(error).__name__
    found = _NUMBER.search(text)
    number = getattr(error, "errno", None) or (int(found[1]) if found else None)
    shown = mask(text)
    facts = {"driver": shown[:2000]}
    said = shown if len(shown) <= 300 else shown[:300] + "…"
    if number in _FULL:
        return StorageError(f"there is no room in {place} ({said}); make room and try again", **facts)
    if number in _FORBIDDEN:
        return PermissionDenied(
            f"{place} may not be used so ({said}); check its owner and how it is mounted, or open it with ?mode=ro",
            **facts,
        )
    if number in _CROWDED:
        return Unavailable(
            f"{place} cannot be reached now ({said}); close what is open and try again", **facts
        )
    if number in _OTHER_KIND:
        return IncompatibleStore(f"{place} is no directory of a store ({said}); choose another path", **facts)
    if number == errno.ENOENT:
        return StorageError(f"{place} was removed, in whole or in part ({said}); open it again", **facts)
    if number is not None and isinstance(error, OSError):
        return StorageError(f"the disk of {place} failed ({said}); the previous commit is intact", **facts)
    return _by_text(error, text, said, place, facts)


def _by_text(error: BaseException, text: str, said: str, place: str, facts: dict[str, str]) -> PerdureError:
    if _NO_BUCKET.search(text):
        return NotFound(f"the bucket of {place} does not exist; create it, or correct the URL", **facts)
    if _ELSEWHERE.search(text):
        return InvalidURL(f"the bucket of {place} is in another region ({said}); correct ?region=", **facts)
    if _REFUSED.search(text) or isinstance(error, obs.PermissionDeniedError | obs.UnauthenticatedError):
        return PermissionDenied(
            f"{place} refuses it ({said}); check the credentials and what they may do, or open it with ?mode=ro",
            **facts,
        )
    if _CONFLICT.search(text):
        return Busy(f"{place}: another writer was first ({said}); try again", **facts)
    if isinstance(error, obs.NotSupportedError | NotImplementedError):
        return Unsupported(f"{place} cannot do that ({said}); use other storage, or another version", **facts)
    if _REMOTE.search(text) or isinstance(error, obs.GenericError | obs.JoinError):
        return Unavailable(f"{place} cannot be reached ({said}); check the endpoint and try again", **facts)
    if _MISSING.search(text) or isinstance(error, FileNotFoundError):
        return CorruptStore(f"{place} lacks a file that it should have ({said}); run verify", **facts)
    if _DAMAGED.search(text):
        return CorruptStore(
            f"{place} is damaged ({said}); stop writing, run verify, restore from a backup", **facts
        )
    return StorageError(f"LanceDB failed on {place} ({said}); the previous commit is intact", **facts)


def hide(secrets: Iterable[str]) -> None:
    """From now on, mask these in whatever drivers say, whoever asks them."""
    _secrets.update(secrets)


def mask(text: str) -> str:
    """A text without secrets, the longest first, as one may hold another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


@contextmanager
def translated(place: str = "the store") -> Iterator[None]:
    """Raise what drivers raise in the block as a `PerdureError`."""
    try:
        yield
    except PerdureError:  # many are kinds of OSError, ValueError or KeyError
        raise
    except _DRIVERS as error:
        if str(error).startswith("KeyboardInterrupt"):  # so LanceDB tells of Ctrl-C in a query
            raise KeyboardInterrupt from None
        meant = translate(error, place)
        _scrub(error)
        raise meant from error


def _scrub(error: BaseException | None) -> None:
    """Mask secrets in an error and in those before it: a traceback shows them all."""
    while error is not None:
        if mask(str(error)) != str(error):
            error.args = (mask(str(error)),)
        error = error.__cause__ or error.__context__
