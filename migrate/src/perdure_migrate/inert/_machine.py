"""The pickle machine: a stack, a memo, and no way to anything that a pickle names.

`pickle.Unpickler` finds classes and calls them. This machine knows only the bytes: what a GLOBAL names is an
inert reference, what a REDUCE, NEWOBJ, INST, OBJ or BUILD asks for is written down in an `Opaque`, and only
the rebuilders of a fixed allowlist, keyed by exact (module, qualified name) pairs, make real objects. The
meaning of each opcode is that of `pickletools` (Python 3.11, protocols 0 to 5).
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

from perdure import InvalidRecord, PerdureError

from perdure_migrate.inert._graph import measure, resolve
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._opcodes import NAMES, STOP, TABLE
from perdure_migrate.inert._rebuild import CONSTRUCTORS, REBUILDERS
from perdure_migrate.inert._report import Report
from perdure_migrate.inert._stand_in import Opaque, has_state
from perdure_migrate.inert._zones import ZoneOf

__all__ = ["Machine"]

#: Key types whose hash is cheap, and cannot fail or recurse.
_CHEAP_KEYS = frozenset({str, bytes, float, bool, type(None)})

_DAMAGED = "The file is damaged or no pickle; copy it again."
_BOMB = "It looks like a bomb; leave it out."

#: How deep a key may nest; the hash of a tuple recurses in C without a check of its own.
_KEY_DEPTH = 200

#: The modulus of the hash of numbers; smaller integers are their own hash.
_PRIME = sys.hash_info.modulus

#: How many different keys may share a hash with the first that had it.
_COLLISIONS = 1_000

#: Opcodes between two looks at the sizes of stack, memo and nodes.
_STRIDE = 4096


Name = tuple[str, str]

#: Makes the real object out of a stand-in and its state, or answers `NotImplemented`.
Finisher = Callable[["Machine", Opaque, Any], Any]


class Machine:
    """Reads one pickle after another out of `data`; see the module docstring.

    Attributes:
        pos: Offset of the next byte to read.
        at: Offset of the opcode being carried out.
        stack: Values above the last mark.
        memo: What GET finds.
        zone: Finds time zones.
        out_of_band: The buffers that a protocol 5 pickle leaves to another channel, in order, if they are known.
        persistent: Answers what a persistent id stands for, or `NotImplemented`; None: nothing is known of them.
    """

    def __init__(
        self,
        data: bytes,
        limits: Limits,
        report: Report,
        zone: ZoneOf,
        buffers: Sequence[bytes] | None = None,
    ) -> None:
        self.data = data
        self.size = len(data)
        self.limits = limits
        self.report = report
        self.zone = zone
        self.out_of_band = buffers
        self.persistent: Callable[[Any], Any] | None = None
        self.pos = 0
        self.at = 0
        # Work (hashing) and copies may be asked for by reference any number of times, a few bytes each:
        # both are bounded in proportion to the input, which no honest pickle comes near.
        self._work = 64 * self.size + 1_000_000
        self._copies = 4 * self.size + 1_000_000
        self._made = 0
        self.buffers = 0
        self.is_nested = False
        self.forget()

    def forget(self) -> None:
        """Start afresh, as for a pickle that has nothing to do with those before it."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.held = 0
        self.nodes = 0
        self.memo: dict[int, Any] = {}
        self.waiting: dict[int, tuple[Opaque, Finisher, int]] = {}
        self.scratch: dict[Any, Any] = {}
        self._references: dict[Name, Opaque] = {}
        self._names: dict[int, Name] = {}
        self._copied: set[int] = set()
        self._rewritten = False
        self._hashes: dict[int, Any] = {}
        self._collisions: dict[int, int] = {}
        self._replaced: dict[int, tuple[Any, Any]] = {}

    # -- one pickle

    def read(self) -> Any:
        """The value of the pickle that starts at `pos`.

        Raises:
            InvalidRecord: The bytes are no pickle, are cut off, or pass a limit.
        """
        self.stack, self.marks, self.held, self.nodes = [], [], 0, 0
        try:
            value = self._run()
            if self._replaced:
                value = resolve(value, self._replaced)
            depth = measure(value, self.limits.max_depth)
        except PerdureError:
            raise
        except IndexError as error:
            if self.pos >= self.size:
                raise self.truncated(1) from error
            raise self.fail("the stack is empty where a value is needed") from error
        except KeyError as error:
            raise self.fail(f"memo entry {error.args[0]!r} was never written") from error
        except MemoryError as error:
            raise self.fail("there is not enough memory", "Read it where there is more.") from error
        except Exception as error:
            raise self.fail(
                f"its argument is malformed ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        if depth > self.limits.max_depth:
            raise self.over("max_depth", depth)
        self.report.pickles += 1
        return value

    def nested(self) -> Any:
        """The value of a pickle of its own that starts at `pos`, in the midst of this one."""
        inner = Machine(self.data, self.limits, self.report, self.zone, self.out_of_band)
        inner.is_nested = True
        inner.pos, inner._work, inner._copies, inner._made = self.pos, self._work, self._copies, self._made
        value = inner.read()
        self.pos, self._work, self._copies, self._made = inner.pos, inner._work, inner._copies, inner._made
        self.nodes += inner.nodes
        return value

    def _run(self) -> Any:
        data, table, limits = self.data, TABLE, self.limits
        while True:
            for _ in range(_STRIDE):
                self.at = at = self.pos
                code = data[at]
                self.pos = at + 1
                if code == STOP:
                    value = self.stack.pop()
                    if self.stack or self.marks:
                        raise self.fail("values are left on the stack at the end")
                    self._check_sizes(limits)
                    return value
                table[code](self)
            self._check_sizes(limits)

    def _check_sizes(self, limits: Limits) -> None:
        if self.nodes > limits.max_nodes:
            raise self.over("max_nodes", self.nodes)
        if len(self.memo) > limits.max_memo:
            raise self.over("max_memo", len(self.memo))
        stack = self.held + len(self.stack) + len(self.marks)
        if stack > limits.max_stack:
            raise self.over("max_stack", stack)

    # -- errors

    def fail(
        self, problem: str, advice: str = "The file is damaged or no pickle; copy it again."
    ) -> InvalidRecord:
        """An error that says where, at which opcode, what is wrong and what to do."""
        opcode = NAMES[self.data[self.at]] if self.at < self.size else "end"
        message = f"pickle: at byte {self.at} ({opcode}), {problem}. {advice}"
        return InvalidRecord(message, offset=self.at, opcode=opcode)

    def over(self, limit: str, found: int) -> InvalidRecord:
        """An error for a limit that was passed."""
        most = getattr(self.limits, limit)
        return self.fail(
            f"{limit} is {most} and {found} was reached", f"If you trust its size, raise Limits.{limit}."
        )

    def truncated(self, wanted: int) -> InvalidRecord:
        """An error for bytes that are not there."""
        left = self.size - self.pos
        return self.fail(f"it is cut off: {wanted} more bytes are needed, {max(left, 0)} are left")

    # -- bytes

    def take(self, count: int) -> bytes:
        """The next `count` bytes; checked against what is there before anything is allocated."""
        start = self.pos
        end = start + count
        if end > self.size:
            raise self.truncated(count)
        self.pos = end
        return self.data[start:end]

    def line(self) -> bytes:
        """The bytes up to the next newline, which is consumed."""
        end = self.data.find(b"\n", self.pos)
        if end < 0:
            self.pos = self.size
            raise self.truncated(1)
        line = self.data[self.pos : end]
        self.pos = end + 1
        return line

    def number(self, width: int) -> int:
        """The next little-endian unsigned integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def check_digits(self, digits: int) -> None:
        """Refuse an integer of too many decimal digits before it is converted."""
        if digits > self.limits.max_int_digits:
            raise self.over("max_int_digits", digits)

    # -- budgets

    def work(self, units: int) -> None:
        """Charge repeated work, in elementary steps."""
        self._work -= units
        if self._work < 0:
            raise self.fail(
                "it asks for the same costly work again and again", "It looks like a bomb; leave it out."
            )

    def admit(self, units: int) -> None:
        """Let so much more be copied: bytes that belong to the pickle, and are kept beside it."""
        self._copies += units

    def copies(self, units: int) -> None:
        """Charge what a rebuilder is about to allocate, in bytes or elements."""
        self._copies -= units
        if self._copies < 0:
            raise self.fail(
                "it asks for the same data to be copied again and again",
                "It looks like a bomb; leave it out.",
            )

    # -- names and calls

    def name(self, module: str, qualname: str) -> Opaque:
        """The inert reference to a name: one per name, so that identity holds."""
        key = (module, qualname)
        self.report._globals[key] += 1
        found = self._references.get(key)
        if found is None:
            found = self._references[key] = self._stand_in(key, None)
            self._names[id(found)] = key
        return found

    def name_of(self, value: Any) -> Name | None:
        """The (module, qualified name) of a reference made by `name`, else None."""
        return self._names.get(id(value))

    def call(self, func: Any, args: Any, kwargs: dict[str, Any] | None = None, *, new: bool = False) -> Any:
        """What calling `func` would have made: rebuilt by the allowlist, or an `Opaque`.

        Args:
            func: A reference, or any other value on the stack.
            args: The positional arguments, as the pickle gives them.
            kwargs: The named arguments.
            new: True for `func.__new__(func, *args)`.
        """
        if type(args) is not tuple:
            raise self.fail(f"the arguments of a call are a {type(args).__name__}, not a tuple")
        self.nodes += 1
        name = self._names.get(id(func))
        if name is None:
            if type(func) is not Opaque:
                raise self.fail(f"a {type(func).__name__} is called")
            name, args = (("copyreg", "__newobj__") if new else ("operator", "call")), (func, *args)
            self.copies(len(args))
        self.report._calls[name] += 1
        if not kwargs:
            rebuild = (CONSTRUCTORS if new else REBUILDERS).get(name)
            if rebuild is not None:
                made = rebuild(self, name, args)
                if made is not NotImplemented:
                    return made
        return self.opaque(name, args, kwargs)

    def opaque(self, name: Name, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Opaque:
        """A stand-in for what a call of `name` would have made."""
        self.report._opaque[name] += 1
        return self._stand_in(name, args, kwargs)

    def _stand_in(
        self, name: Name, args: tuple[Any, ...] | None, kwargs: dict[str, Any] | None = None
    ) -> Opaque:
        self._made += 1
        return Opaque(name[0], name[1], args, kwargs=kwargs, order=self._made)

    def unfinished(self, name: Name, args: tuple[Any, ...], finish: Finisher) -> Opaque:
        """A stand-in that a BUILD with the right state turns into the real object."""
        made = self.opaque(name, args)
        self.waiting[id(made)] = (made, finish, len(self.memo))
        return made

    def build(self, target: Any, state: Any) -> None:
        """Give `target`, which is on top of the stack, its state."""
        waiting = self.waiting.pop(id(target), None)
        if waiting is not None:
            made = waiting[1](self, target, state)
            if made is not NotImplemented:
                name = (target.module, target.qualname)
                self.report._opaque[name] -= 1
                if not self.report._opaque[name]:
                    del self.report._opaque[name]
                self._become(target, made, waiting[2])
                return
        if type(target) is not Opaque:
            target = self._demote(target, "a state")
        if has_state(target):
            raise self.fail(f"{target.module}.{target.qualname} is given a second state")
        target.state = state

    # -- containers

    def extend(self, target: Any, items: list[Any]) -> None:
        """APPEND and APPENDS."""
        kind = type(target)
        if kind is list or kind is deque:
            target.extend(items)
        elif kind is Opaque:
            target.items.extend(items)
        else:
            raise self.fail(f"items are appended to a {kind.__name__}")

    def set_items(self, target: Any, flat: list[Any]) -> None:
        """SETITEM and SETITEMS: keys and values alternate."""
        if len(flat) & 1:
            raise self.fail("a key has no value")
        kind = type(target)
        if kind is dict or kind is OrderedDict:
            keys = flat[::2]
            if _CHEAP_KEYS.issuperset(map(type, keys)) or self.hashable(keys):
                target.update(zip(keys, flat[1::2], strict=True))
                return
            target = self._demote(target, "an unhashable key")
        elif kind is not Opaque:
            raise self.fail(f"keys are set in a {kind.__name__}")
        target.pairs.extend(zip(flat[::2], flat[1::2], strict=True))

    def add(self, target: Any, items: list[Any]) -> None:
        """ADDITEMS."""
        kind = type(target)
        if kind is set:
            if self.hashable(items):
                target.update(items)
                return
            target = self._demote(target, "an unhashable member")
        elif kind is not Opaque:
            raise self.fail(f"members are added to a {kind.__name__}")
        target.items.extend(items)

    def hashable(self, keys: Sequence[Any]) -> bool:
        """Whether all may be hashed, at a cost that is charged before the first hash is taken."""
        for key in keys:
            if type(key) in _CHEAP_KEYS:
                continue
            if type(key) is int and -_PRIME < key < _PRIME:
                continue  # its own hash
            self._weigh(key)
            try:
                value = hash(key)
            except (TypeError, ValueError, ArithmeticError):
                return False
            self._spread(value, key)
        return True

    def _spread(self, value: int, key: Any) -> None:
        """Refuse many different keys of one hash, which a file can only hold on purpose."""
        first = self._hashes.setdefault(value, key)
        if first is not key and first != key:
            self._collisions[value] = met = self._collisions.get(value, 0) + 1
            if met > _COLLISIONS:
                raise self.fail(f"{met} different keys have one hash", _BOMB)

    def _weigh(self, key: Any) -> None:
        """Charge what hashing costs: a shared tuple is hashed afresh wherever it comes up."""
        level, depth = [key], 0
        while level:
            self.work(len(level))
            depth += 1
            if depth > _KEY_DEPTH:
                raise self.fail(
                    f"a key nests deeper than {_KEY_DEPTH}", "It looks like a bomb; leave it out."
                )
            below: list[Any] = []
            for item in level:
                kind = type(item)
                if kind is tuple or kind is frozenset:
                    self.work(len(item))
                    below.extend(item)
                elif kind is int:
                    self.work(item.bit_length() >> 6)
                elif kind is Fraction:
                    self.work((item.denominator.bit_length() >> 6) ** 2 + (item.numerator.bit_length() >> 6))
                elif kind is Decimal:
                    self.work(len(item.as_tuple().digits))
            level = below

    # -- one object in the place of another

    def _demote(self, target: Any, why: str) -> Opaque:
        """Put a stand-in in the place of a container that cannot hold what the pickle puts into it."""
        kind = type(target)
        made: Opaque
        if kind is dict or kind is OrderedDict:
            made = self.opaque(("builtins", "dict") if kind is dict else ("collections", "OrderedDict"))
            made.pairs.extend(target.items())
        elif kind is deque:
            made = self.opaque(("collections", "deque"), ([], target.maxlen))
            made.items.extend(target)
        elif kind is set or kind is list:
            made = self.opaque(("builtins", kind.__name__))
            made.items.extend(target)
        else:
            raise self.fail(f"a {kind.__name__} is given {why}")
        self.copies(len(target))
        self._become(target, made)
        return made

    def _become(self, old: Any, new: Any, since: int | None = None) -> None:
        """Put `new` in the place of `old`, which is on top of the stack.

        Args:
            old: What is replaced.
            new: What replaces it.
            since: The length of the memo when `old` was made, if every use of it since went through `shared`:
                what nobody used needs no walk over all that was read.
        """
        self.stack[-1] = new
        memo = self.memo
        recent = len(memo) - (0 if self._rewritten else since or 0)
        self.work(recent)
        for key in [key for key in islice(reversed(memo), recent) if memo[key] is old]:
            memo[key] = new
        if since is None or id(old) in self._copied:
            self._replaced[id(old)] = (old, new)

    def shared(self, value: Any) -> Any:
        """`value`, which is about to be in two places; noted where a BUILD may yet replace it."""
        if id(value) in self.waiting:
            self._copied.add(id(value))
        return value

    def remember(self, index: int) -> None:
        """PUT: what is on top of the stack is entry `index` of the memo."""
        if index in self.memo and self.waiting:
            self._rewritten = True  # the order of the memo says no longer what is recent
        self.memo[index] = self.stack[-1]

    def dropped(self, value: Any) -> None:
        """POP: a call on the object below is its state setter (part six of a `__reduce__`), and is kept."""
        if type(value) is Opaque and value.args and self.stack:
            below = self.stack[-1]
            if value.args[0] is below and type(below) is Opaque and not has_state(below):
                below.state = value
