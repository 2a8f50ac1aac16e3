"""What tests of the engine run in processes of their own. A job prints what was acknowledged, a line each."""

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import perdure
import perdure_lancedb._plugin as plugin
from lance.dataset import DatasetOptimizer
from perdure import Link, Memory, State, Trace
from perdure_lancedb._local import LocalObjects


def tell(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


class Steps:
    """All that changes files, as steps: each creation and removal of objects, and each change of LanceDB's table."""

    def __init__(self, before: Callable[[str], None]) -> None:
        """Call `before` with the name of each step to come."""

        def watched(owner: Any, name: str) -> None:
            original = getattr(owner, name)

            def call(*arguments: Any, **options: Any) -> Any:
                before(name)
                return original(*arguments, **options)

            self._originals.append((owner, name, original))
            setattr(owner, name, call)

        self._originals: list[tuple[Any, str, Any]] = []
        for name in ("create", "remove", "settle"):
            watched(LocalObjects, name)
        for name in ("delete", "restore", "create_scalar_index", "cleanup_old_versions"):
            watched(lance.LanceDataset, name)
        for name in ("compact_files", "optimize_indices"):
            watched(DatasetOptimizer, name)
        watched(lance, "write_dataset")

    def close(self) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)


def group(batch: Any, mark: str) -> None:
    """Rows of four tables that carry one mark: all of them are there, or none is."""
    batch.memories.put(Memory(id="group", text=mark))
    batch.links.put(Link(id="group", source="group", target="group", relation=mark))
    batch.traces.put(Trace(id="group", session=mark))
    batch.states.put(State(kind="k", id="group", payload=mark.encode() * 1_000))


def work(url: str, at: str, run: str) -> None:
    """Commits to several tables, folds, a branch, a purge and a compaction; killed before a certain step."""
    count = 0

    def before(name: str) -> None:
        nonlocal count
        count += 1
        if count == int(at):
            tell("killed", name)
            os.kill(os.getpid(), signal.SIGKILL)

    with perdure.open(url) as store:
        Steps(before)
        for i in range(4):
            with store.batch(commit_id=f"{run}-{i}") as batch:
                group(batch, f"{run}-{i}")
                batch.memories.put(Memory(id=f"{run}-{i}", text="kept"))
            tell("commit", "main", f"{run}-{i}")
        lab = store.branch("lab")
        lab.memories.put(Memory(id=f"{run}-lab"), commit_id=f"{run}-lab")
        tell("commit", "lab", f"{run}-lab")
        store.memories.put(Memory(id="secret", text="secret"), commit_id=f"{run}-secret")
        store.purge("memories", ["secret"])
        tell("purged")
        store.compact(lease=timedelta(0))
        tell("compacted")
    tell("steps", count)


def folded(url: str, folder: str) -> None:
    """Change and fold again and again; killed as soon as LanceDB has begun a new file in a folder of a table."""
    tables = Path(url.removeprefix("lancedb:///").partition("?")[0]) / "tables"

    def files() -> set[Path]:
        return {path for path in tables.glob(f"*/{folder}/**/*") if path.is_file()}

    def watch() -> None:
        while files() <= before:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    with perdure.open(url) as store:
        store.memories.put([Memory(id=f"m{i}", text="secret text") for i in range(300)])
        before = files()
        threading.Thread(target=watch, daemon=True).start()
        for i in range(100):
            store.memories.put(Memory(id="secret-id", text=f"secret text {i}"))
            store.memories.put([Memory(id=f"n{i}", text="secret text") for i in range(20)])
            store.compact(keep=1, lease=timedelta(0))


def commit(url: str, name: str, count: str, *branches: str) -> None:
    """Commit again and again, in turn to several branches, each time to a row of its own and to one of all."""
    with perdure.open(url) as store:
        places = [store.branch(branch) for branch in branches] or [store]
        tell("ready")
        sys.stdin.readline()
        for i in range(int(count)):
            place = places[i % len(places)]
            place.transact(lambda t, i=i: (t.memories.put(Memory(id=f"{name}{i}")), add(t)), attempts=100)
            tell(f"{name}{i}")


def add(batch: Any) -> None:
    row = batch.memories.get("sum")
    batch.memories.put(Memory(id="sum", text=str(int(row.text if row else "0") + 1)))


def insert(url: str, names: str) -> None:
    """Insert keys that others insert too; tell of those that were new."""
    with perdure.open(url) as store:
        tell("ready")
        sys.stdin.readline()
        for i in range(int(names)):
            try:
                store.memories.insert(Memory(id=f"m{i}", text=str(os.getpid())))
                tell(f"m{i}")
            except perdure.AlreadyExists:
                continue


def raw(uri: str, names: str) -> None:
    """As `insert`, by LanceDB alone, as its guide has it."""
    import lancedb
    import pyarrow as pa

    folder, _, name = uri.rpartition("/")
    table = lancedb.connect(folder).open_table(name.removesuffix(".lance"))
    tell("ready")
    sys.stdin.readline()
    for i in range(int(names)):
        rows = pa.table({"id": [f"m{i}"], "text": [str(os.getpid())]})
        table.merge_insert("id").when_not_matched_insert_all().execute(rows)


def halves(folder: str) -> None:
    """One change to two tables of LanceDB, and killed between them."""
    import lancedb

    base = lancedb.connect(folder)
    base.open_table("memories").add([{"id": "both"}])
    os.kill(os.getpid(), signal.SIGKILL)
    base.open_table("links").add([{"id": "both"}])


def full(url: str, limit: str) -> None:
    """Commit where no file may grow beyond a limit, so that folds fail."""
    with perdure.open(url) as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        for i in range(30):
            store.memories.put(Memory(id=f"m{i}", text=os.urandom(1_000).hex()))
            tell(f"m{i}")


def fork(url: str) -> None:
    """Use a store in a forked child while another thread of the parent is at work with it, as at the fork."""
    store = perdure.open(url)
    store.memories.put(Memory(id="m0"))
    for i in range(10):
        store.memories.put(Memory(id=f"n{i}"))
    engine = next(iter(plugin._STORES._handles.values())).it
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.lock:
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    inside.wait()
    uses: Iterable[Callable[[], Any]] = (
        lambda: store.memories.get("m0"),
        lambda: store.memories.put(Memory(id="child")),
        lambda: list(store.memories.scan()),
        store.compact,
    )
    for use in uses:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                use()
                tell("it went")
            except perdure.PerdureError as error:
                tell(type(error).__name__, str(error))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    done.set()
    thread.join()
    assert store.memories.get("m0") is not None
    store.close()


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job for job in (work, folded, commit, insert, raw, halves, full, fork)
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
