"""Servers and their users that are killed, at any moment; directories that were copied; servers that cannot go on."""

import os
import runpy
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from perdure import Busy, StorageError
from perdure_postgres._embedded import start

kit = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("embedded_kit.py"))))

STARTED = "SELECT pg_postmaster_start_time()::text"


def test_a_killed_server_comes_again_with_all_that_it_acknowledged(directory):
    share = kit.begin(directory)
    kit.run(share, "CREATE TABLE rows (n int)")
    for n in range(1, 8):
        kit.run(share, f"INSERT INTO rows VALUES ({n})")
        kit.postmaster(directory).kill()
        share.ensure(kit.soon())
        assert kit.run(share, "SELECT count(*) FROM rows") == n
        assert share.failure() is None
    share.close()
    assert kit.processes(directory) == []


def test_a_killed_server_whose_connections_are_busy(directory):
    """They do not look whether their server still lives before they have ended what they do."""
    share = kit.begin(directory)
    lost = []

    def work() -> None:
        with pytest.raises(psycopg.OperationalError) as caught:
            kit.run(share, "SELECT count(*) FROM generate_series(1, 1e12::bigint) AS n WHERE n % 7 = 9")
        lost.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%1e12%' AND pid <> pg_backend_pid()"
    kit.until(lambda: kit.run(share, busy) == 1)
    kit.postmaster(directory).kill()
    share.ensure(kit.soon())
    thread.join()
    assert len(lost) == 1
    assert kit.run(share, "SELECT 1") == 1
    share.close()
    assert kit.processes(directory) == []


def test_threads_that_find_the_server_dead_start_one(directory):
    share, other = kit.begin(directory), kit.begin(directory)
    kit.postmaster(directory).kill()
    began = []

    def use(mine) -> None:
        mine.ensure(kit.soon())
        began.append(kit.run(mine, STARTED))

    threads = [threading.Thread(target=use, args=(mine,)) for mine in (share, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(began) == 6
    assert len(set(began)) == 1
    share.close()
    other.close()
    assert kit.processes(directory) == []


def test_a_server_that_another_one_stopped(directory):
    share = kit.begin(directory)
    kit.postmaster(directory).send_signal(signal.SIGINT)
    share.ensure(kit.soon())
    assert kit.run(share, "SELECT 1") == 1
    share.close()


def test_a_server_that_hangs(directory):
    share = kit.begin(directory)
    process = kit.postmaster(directory)
    process.suspend()
    try:
        with pytest.raises(Busy, match="try again"):
            share.ensure(kit.soon(0.1))
    finally:
        process.resume()
    share.ensure(kit.soon())
    assert kit.postmaster(directory) == process
    share.close()
    assert kit.processes(directory) == []


def test_a_server_whose_socket_was_removed(directory):
    share = kit.begin(directory)
    (directory / ".s.PGSQL.5432").unlink()
    share.ensure(kit.soon())
    assert kit.run(share, "SELECT 1") == 1
    share.close()
    assert kit.processes(directory) == []


MOMENTS = [
    "perdure.lock",
    "data.new",
    "data.new/global/pg_control",
    "data.new/base/5",
    "data/PG_VERSION",
    "data/postmaster.pid",
    ".s.PGSQL.5432",
]


@pytest.mark.parametrize("everything", [True, False], ids=["all", "starter"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_the_cluster_is_created_and_started(workers, tmp_path, moment, everything):
    """The program and what it started, or the program alone, so that initdb goes on without it."""
    directory = tmp_path / "server"
    user = kit.program("begin(); sys.stdin.readline()", directory, workers)
    kit.until(lambda: os.path.lexists(directory / moment) or user.poll() is not None)
    if everything:
        kit.kill_all(user)
    else:
        user.kill()
        kit.ended(user)
    share = kit.begin(directory)
    assert kit.run(share, "SELECT count(*) FROM pg_database") == 3
    assert not (directory / "data.new").exists()
    share.close()
    assert kit.processes(tmp_path) == []


@pytest.fixture
def crashed(directory: Path) -> Path:
    """The directory of a server that was killed, with all its processes."""
    share = kit.begin(directory)
    kit.run(share, "CREATE TABLE kept AS SELECT 7 AS n")
    for process in kit.processes(directory):
        process.kill()
    kit.until(lambda: not kit.processes(directory))
    share.close()
    assert (directory / "data" / "postmaster.pid").exists()
    return directory


def name_process(directory: Path, pid: int) -> None:
    """Let the files that a server leaves name another process: numbers are used again."""
    for path in (directory / "data" / "postmaster.pid", directory / ".s.PGSQL.5432.lock"):
        _, _, rest = path.read_text().partition("\n")
        path.write_text(f"{pid}\n{rest}")


def copied(crashed: Path) -> Path:
    copy = crashed.with_name("copy")
    ignore = shutil.ignore_patterns(".s.PGSQL.5432")  # no socket can be copied
    shutil.copytree(crashed, copy, ignore=ignore, symlinks=True)
    with socket.socket(socket.AF_UNIX) as stale:  # but an archive may bring one back that nobody listens at
        stale.bind(str(copy / ".s.PGSQL.5432"))
    return copy


def holds_what_was_kept(directory: Path) -> None:
    share = start(directory, kit.soon(), create=False)
    assert kit.run(share, "SELECT n FROM kept") == 7
    assert Path(kit.postmaster(directory).cwd()) == directory / "data"
    share.close()
    assert kit.processes(directory) == []


def test_a_copied_directory(crashed):
    holds_what_was_kept(copied(crashed))


def test_the_number_of_the_dead_server_is_another_process_now(crashed):
    name_process(crashed, os.getpid())
    holds_what_was_kept(crashed)


def test_the_number_of_the_dead_server_is_a_process_that_nobody_has_buried(crashed):
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        name_process(crashed, child.pid)
        holds_what_was_kept(crashed)
    assert child.returncode == 0


def test_the_number_of_the_dead_server_is_the_server_that_it_is_a_copy_of(crashed):
    copy = copied(crashed)
    original = start(crashed, kit.soon(), create=False)
    running = kit.postmaster(crashed)
    name_process(copy, running.pid)
    holds_what_was_kept(copy)
    assert kit.run(original, "SELECT n FROM kept") == 7
    assert kit.postmaster(crashed) == running
    original.close()


def test_what_is_left_is_cut_off(crashed):
    """As after a loss of power."""
    (crashed / "data" / "postmaster.pid").write_text("")
    (crashed / ".s.PGSQL.5432.lock").write_text("")
    holds_what_was_kept(crashed)


def test_what_a_server_died_of_is_told(directory):
    share = kit.begin(directory)
    with pytest.raises(psycopg.Error):
        kit.run(share, "SELECT E'\\nPANIC:  no\\n2026-01-01 00:00:00.000 UTC [1] PANIC:  no'::int")
    assert share.failure() is None
    data = directory / "data"
    (data / "pg_wal").rename(data / "away")
    with pytest.raises(psycopg.OperationalError):
        for _ in range(3):
            kit.run(share, "SELECT pg_logical_emit_message(true, 'p', 'x'), pg_switch_wal()")
    kit.until(lambda: "required WAL directory" in (directory / "log").read_text())
    said = share.failure()
    assert said is not None
    assert said.startswith(("PANIC:  ", "FATAL:  "))
    assert "pg_wal" in said
    with pytest.raises(StorageError, match='does not start .*"pg_wal".* see .*log'):
        share.ensure(kit.soon())
    (data / "away").rename(data / "pg_wal")
    share.ensure(kit.soon())
    assert share.failure() is None
    assert kit.run(share, "SELECT 1") == 1
    share.close()


def test_why_a_server_does_not_start_is_told(directory):
    kit.begin(directory).close()
    settings = directory / "data" / "postgresql.auto.conf"
    before = settings.read_bytes()
    settings.write_bytes(before + b"no_such_setting = on\n")
    with pytest.raises(StorageError, match="does not start .*configuration file .* contains errors"):
        kit.begin(directory)
    assert kit.processes(directory) == []
    settings.write_bytes(before)
    kit.begin(directory).close()


def test_a_directory_that_is_removed_under_its_server(directory):
    share = kit.begin(directory)
    left = kit.postmaster(directory)
    shutil.rmtree(directory)
    share.close()
    again = kit.begin(directory)
    assert kit.run(again, "SELECT 1") == 1
    left.send_signal(signal.SIGQUIT)  # else it finds out within a minute
    again.close()
    kit.until(lambda: not kit.processes(directory))
