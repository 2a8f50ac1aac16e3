"""Files of torch, written here by the book: the class names are stand-ins, the layout is torch's own."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perdure import InvalidRecord
from perdure.values import Opaque
from perdure_migrate.inert import Reader

TYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "b1", "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16",
}  # fmt: skip


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules with the names that torch writes."""
    made, utils, storage = (types.ModuleType(name) for name in ("torch", "torch._utils", "torch.storage"))
    for kind in (*TYPES, "BFloat16Storage", "QInt8Storage"):
        setattr(made, kind, type(kind, (), {"__module__": "torch"}))
    storage.UntypedStorage = type("UntypedStorage", (), {"__module__": "torch.storage"})  # type: ignore[attr-defined]
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    for module in (made, utils, storage):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    made.utils, made.storage = utils, storage  # type: ignore[attr-defined]
    return made


class Storage:
    """A storage to be written: its class, its key, its bytes, its length in items."""

    def __init__(self, kind: type, key: str, data: bytes, count: int) -> None:
        self.kind, self.key, self.data, self.count = kind, key, data, count


class Call:
    """What pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> Any:
        return self.reduced


class Pickler(pickle.Pickler):
    def __init__(self, file: Any, *, legacy: bool = False) -> None:
        super().__init__(file, 2)
        self.legacy = legacy

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is not Storage:
            return None
        key = ("storage", obj.kind, obj.key, "cpu", obj.count)
        return (*key, None) if self.legacy else key


def _dumps(value: Any, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, legacy=legacy).dump(value)
    return buffer.getvalue()


def _zip(value: Any, storages: list[Storage], order: str | None = "little") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", _dumps(value))
        if order:
            file.writestr("archive/byteorder", order)
        for storage in storages:
            file.writestr(f"archive/data/{storage.key}", storage.data)
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _stream(value: Any, storages: list[Storage]) -> bytes:
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps([one.key for one in storages], 2)
    raw = b"".join(one.count.to_bytes(8, "little") + one.data for one in storages)
    return b"".join((*head, _dumps(value, legacy=True), keys, raw))


WRITERS: list[Callable[[Any, list[Storage]], bytes]] = [_zip, _stream]


def _tensor(torch: Any, array: np.ndarray[Any, Any], kind: str, key: str = "0") -> tuple[Any, Storage]:
    storage = Storage(getattr(torch, kind), key, array.tobytes(), array.size)
    steps = tuple(step // array.itemsize for step in array.strides)
    return Call(torch.utils._rebuild_tensor_v2, storage, 0, array.shape, steps, False, OrderedDict()), storage


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_of_every_type(reader: Reader, tmp_path: Path, torch: Any, same: Any, write: Any) -> None:
    arrays = {kind: np.arange(6).reshape(2, 3).astype(f"<{code}") for kind, code in TYPES.items()}
    made = {kind: _tensor(torch, array, kind, str(n)) for n, (kind, array) in enumerate(arrays.items())}
    value = OrderedDict((kind, tensor) for kind, (tensor, _) in made.items())
    (tmp_path / "model.pt").write_bytes(write(value, [storage for _, storage in made.values()]))
    found = reader.read(tmp_path / "model.pt")
    assert found.kind == "torch"
    assert same(found.value, OrderedDict(arrays))


@pytest.mark.parametrize("write", WRITERS)
def test_views_of_one_storage(reader: Reader, tmp_path: Path, torch: Any, same: Any, write: Any) -> None:
    base = np.arange(12, dtype="<f4")
    storage = Storage(torch.FloatStorage, "0", base.tobytes(), 12)
    rebuild = torch.utils._rebuild_tensor_v2

    def view(offset: int, size: tuple[int, ...], steps: tuple[int, ...]) -> Any:
        return Call(rebuild, storage, offset, size, steps, False, OrderedDict())

    value = [view(0, (3, 4), (4, 1)), view(0, (4, 3), (1, 4)), view(5, (), ()), view(0, (0, 4), (4, 1))]
    value += [view(3, (2, 2), (6, 2)), view(0, (1000, 12), (0, 1))]
    (tmp_path / "model.pt").write_bytes(write(value, [storage]))
    *views, expanded = reader.read(tmp_path / "model.pt").value
    grid = base.reshape(3, 4)
    assert same(views[:4], [grid, np.asfortranarray(grid.T), np.array(5, "<f4"), np.empty((0, 4), "<f4")])
    assert views[4].tolist() == [[3, 5], [9, 11]]
    assert (type(expanded), expanded.args[2:4]) == (Opaque, ((1000, 12), (0, 1)))
    assert expanded.args[0].state == base.tobytes()


@pytest.mark.parametrize("write", WRITERS)
def test_types_that_numpy_lacks_keep_their_bytes(
    reader: Reader, tmp_path: Path, torch: Any, write: Any
) -> None:
    for kind, width in (("BFloat16Storage", 2), ("QInt8Storage", 1)):
        storage = Storage(getattr(torch, kind), "0", bytes(range(4 * width)), 4)
        value = Call(torch.utils._rebuild_tensor_v2, storage, 0, (2, 2), (2, 1), False, OrderedDict())
        (tmp_path / "model.pt").write_bytes(write({"w": value}, [storage]))
        made = reader.read(tmp_path / "model.pt").value["w"]
        assert (made.qualname, made.args[1:4]) == ("_rebuild_tensor_v2", (0, (2, 2), (2, 1)))
        held = made.args[0]
        assert (held.module, held.qualname, held.args) == ("torch", kind, ("0", "cpu", 4))
        assert held.state == bytes(range(4 * width))


def test_parameters_and_gradients_are_kept(reader: Reader, tmp_path: Path, torch: Any, same: Any) -> None:
    array = np.arange(3, dtype="<f4")
    tensor, storage = _tensor(torch, array, "FloatStorage")
    wanting = Call(torch.utils._rebuild_tensor_v2, storage, 0, (3,), (1,), True, OrderedDict())
    value = [Call(torch.utils._rebuild_parameter, tensor, True, OrderedDict()), wanting]
    (tmp_path / "model.pt").write_bytes(_zip(value, [storage]))
    parameter, made = reader.read(tmp_path / "model.pt").value
    assert same(parameter.args, (array, True, OrderedDict()))
    assert same(made.args, (array, True, OrderedDict()))


def test_untyped_storages_with_a_named_type(reader: Reader, tmp_path: Path, torch: Any, same: Any) -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def __reduce__(self) -> str:
            return self.name

    torch.uint32 = Named("uint32")
    Named.__module__ = "torch"
    storage = Storage(torch.storage.UntypedStorage, "0", np.arange(3, dtype="<u4").tobytes(), 12)
    rebuild = torch.utils._rebuild_tensor_v3
    value = Call(rebuild, storage, 0, (3,), (1,), False, OrderedDict(), torch.uint32)
    (tmp_path / "model.pt").write_bytes(_zip(value, [storage]))
    assert same(reader.read(tmp_path / "model.pt").value, np.arange(3, dtype="<u4"))


def test_the_byte_order_is_that_of_the_file(reader: Reader, tmp_path: Path, torch: Any, same: Any) -> None:
    array = np.arange(3, dtype=">f4")
    tensor, storage = _tensor(torch, array, "FloatStorage")
    (tmp_path / "model.pt").write_bytes(_zip(tensor, [storage], "big"))
    assert same(reader.read(tmp_path / "model.pt").value, array)


@pytest.mark.parametrize("write", WRITERS)
def test_layouts_that_lie(reader: Reader, tmp_path: Path, torch: Any, write: Any) -> None:
    storage = Storage(torch.FloatStorage, "0", bytes(48), 12)
    rebuild = torch.utils._rebuild_tensor_v2
    for layout in (
        (5, (3, 4), (4, 1)),
        (0, (13,), (1,)),
        (12, (1,), (1,)),
        (0, (2,), (2**40,)),
        (2**60, (1,), (1,)),
    ):
        (tmp_path / "model.pt").write_bytes(
            write(Call(rebuild, storage, *layout, False, OrderedDict()), [storage])
        )
        with pytest.raises(InvalidRecord, match="beyond its storage"):
            reader.read(tmp_path / "model.pt")
    for layout in ((-1, (1,), (1,)), (0, (-1,), (1,)), (0, (1,), (-1,)), (0, (1, 1), (1,)), (0, "x", (1,))):
        (tmp_path / "model.pt").write_bytes(
            write(Call(rebuild, storage, *layout, False, OrderedDict()), [storage])
        )
        assert reader.read(tmp_path / "model.pt").value.args[1:4] == layout


def test_the_same_items_again_and_again(reader: Reader, tmp_path: Path, torch: Any) -> None:
    storage = Storage(torch.FloatStorage, "0", bytes(400_000), 100_000)
    value = [
        Call(torch.utils._rebuild_tensor_v2, storage, 0, (100_000,), (1,), False, OrderedDict())
        for _ in range(2000)
    ]
    (tmp_path / "model.pt").write_bytes(_zip(value, [storage]))
    with pytest.raises(InvalidRecord, match="bomb"):
        reader.read(tmp_path / "model.pt")


@pytest.mark.parametrize("write", WRITERS)
def test_storages_that_lie(reader: Reader, tmp_path: Path, torch: Any, write: Any) -> None:
    tensor, storage = _tensor(torch, np.arange(100, dtype="<f4"), "FloatStorage")
    path = tmp_path / "model.pt"
    path.write_bytes(write(tensor, []))
    with pytest.raises(InvalidRecord, match=r"missing|malformed"):
        reader.read(path)
    good = write(tensor, [storage])
    for end in range(0, len(good), 41):
        path.write_bytes(good[:end])
        with pytest.raises(InvalidRecord):
            reader.read(path)
    path.write_bytes(write(tensor, [Storage(storage.kind, "0", b"short", 1)]))
    with pytest.raises(InvalidRecord, match=r"has 5 bytes|has 1 items"):
        reader.read(path)
