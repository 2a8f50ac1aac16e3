"""The server of one directory: it starts with its first user and ends with its last, and the data stays."""

import runpy
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from perdure import Busy, NotFound, Unavailable
from perdure_postgres._embedded import start
from perdure_postgres._embedded_locks import exclusive

kit = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("embedded_kit.py"))))

STARTED = "SELECT pg_postmaster_start_time()::text"


def test_the_server_ends_with_its_last_user_and_the_data_stays(tmp_path):
    directory = tmp_path / "server"
    share = kit.begin(directory)
    assert share.directory == directory
    kit.run(share, "CREATE TABLE kept AS SELECT 'héllo'::text AS word")
    assert kit.processes(directory)
    share.close()
    assert kit.processes(directory) == []
    assert sorted(path.name for path in directory.iterdir()) == [
        "data",
        "log",
        "perdure.lock",
        "perdure.users",
    ]
    again = start(directory, kit.soon(), create=False)
    assert kit.run(again, "SELECT word FROM kept") == "héllo"
    again.close()
    assert kit.processes(directory) == []


def test_settings(tmp_path):
    share = kit.begin(tmp_path / "server")
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "restart_after_crash": "on",
        "jit": "off",
        "max_connections": "200",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "server_encoding": "UTF8",
        "log_destination": "stderr",
    }
    assert {name: kit.run(share, f"SHOW {name}") for name in expected} == expected
    assert kit.run(share, "SELECT array_agg(w ORDER BY w) FROM unnest('{b,B,é,z,a}'::text[]) w") == list(
        "Babzé"
    )
    assert kit.run(share, "SELECT upper('é')") == "É"
    kit.run(share, "CREATE EXTENSION vector")
    assert kit.run(share, "SELECT '[3,4]'::vector <-> '[0,0]'") == 5.0
    socket = tmp_path / "server" / ".s.PGSQL.5432"
    assert socket.stat().st_mode & 0o777 == 0o700
    share.close()


def test_shares_of_one_process(directory):
    first, second = kit.begin(directory), kit.begin(directory)
    began = kit.run(first, STARTED)
    first.close()
    first.close()
    assert kit.run(second, STARTED) == began
    with pytest.raises(Unavailable, match="closed"):
        first.ensure(kit.soon())
    second.close()
    assert kit.processes(directory) == []


def test_threads_that_start_at_once_meet_one_server(tmp_path):
    began, gate = [], threading.Barrier(6)

    def use() -> None:
        gate.wait()
        share = kit.begin(tmp_path / "server")
        began.append(kit.run(share, STARTED))
        gate.wait()
        share.close()

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(began) == 6
    assert len(set(began)) == 1
    assert kit.processes(tmp_path / "server") == []


USER = """
say("ready"); sys.stdin.readline()
share = begin()
say(run(share, "SELECT pg_postmaster_start_time()::text")); sys.stdin.readline()
share.close()
"""


def test_processes_that_start_at_once_meet_one_server(workers, tmp_path):
    users = [kit.program(USER, tmp_path / "server", workers) for _ in range(6)]
    for user in users:
        assert kit.heard(user) == "ready"
    for user in users:
        kit.tell(user)
    assert len({kit.heard(user) for user in users}) == 1
    for user in users:
        assert kit.processes(tmp_path / "server")
        kit.tell(user)
        assert kit.ended(user) == 0
    assert kit.processes(tmp_path / "server") == []


def test_users_come_and_go(workers, tmp_path):
    """Each start may meet the stop of another: nobody fails, and nothing is left running."""
    body = "for _ in range(8):\n    share = begin(); assert run(share, 'SELECT 1') == 1; share.close()\n"
    users = [kit.program(body, tmp_path / "server", workers) for _ in range(4)]
    assert [kit.ended(user) for user in users] == [0] * 4
    assert kit.processes(tmp_path / "server") == []


def test_a_program_that_forgets_to_close(tmp_path):
    assert kit.ended(kit.program("begin()", tmp_path / "server")) == 0
    assert (tmp_path / "server" / "data" / "PG_VERSION").exists()
    assert kit.processes(tmp_path / "server") == []


def test_a_program_that_fails(tmp_path):
    body = "begin(); os.close(2); raise SystemError"
    assert kit.ended(kit.program(body, tmp_path / "server")) == 1
    assert kit.processes(tmp_path / "server") == []


def test_a_killed_user_is_no_user(workers, directory):
    body = "share = begin(); say(run(share, 'SELECT 1')); sys.stdin.readline()"
    user = kit.program(body, directory, workers)
    assert kit.heard(user) == "1"
    user.kill()
    kit.ended(user)
    left = kit.postmaster(directory)
    share = kit.begin(directory)
    assert kit.postmaster(directory) == left
    share.close()
    assert kit.processes(directory) == []


def test_a_user_that_is_killed_leaves_the_server_to_the_others(workers, directory):
    share = kit.begin(directory)
    user = kit.program("share = begin(); say('in'); sys.stdin.readline()", directory, workers)
    assert kit.heard(user) == "in"
    began = kit.run(share, STARTED)
    user.kill()
    kit.ended(user)
    assert kit.run(share, STARTED) == began
    share.close()
    assert kit.processes(directory) == []


def test_a_forked_child_takes_nothing_from_its_parent(directory):
    body = """
share = begin()
child = os.fork()
if not child:
    share.close()
    sys.exit(0)  # which runs what the parent registered for its own exit
assert os.waitpid(child, 0)[1] == 0
say(run(share, "SELECT 1"))
"""
    parent = kit.program(body, directory)
    assert kit.heard(parent) == "1"
    assert kit.ended(parent) == 0
    assert kit.processes(directory) == []


def test_a_forked_child_is_a_user_once_it_asks_for_the_server(tmp_path):
    body = """
share = begin()
told, tells = os.pipe()
child = os.fork()
if child:
    os.read(told, 1)
    share.close()
    say("closed")
    assert os.waitpid(child, 0)[1] == 0
else:
    share.ensure(time.monotonic() + 60)
    os.write(tells, b"!")
    sys.stdin.readline()
    say(run(share, "SELECT 1"))
    sys.stdin.readline()
    share.close()
"""
    family = kit.program(body, tmp_path / "a'b")  # reached by a link that is the parent's
    assert kit.heard(family) == "closed"
    kit.tell(family)
    assert kit.heard(family) == "1"
    assert kit.processes(tmp_path / "a'b")
    kit.tell(family)
    assert kit.ended(family) == 0
    assert kit.processes(tmp_path / "a'b") == []


def test_a_forked_child_that_does_not_use_the_server_does_not_keep_it(directory):
    body = """
share = begin()
child = os.fork()
if not child:
    signal.pause()
share.close()
say("closed")
sys.stdin.readline()
os.kill(child, signal.SIGKILL)
"""
    parent = kit.program(body, directory)
    assert kit.heard(parent) == "closed"
    assert kit.processes(directory) == []
    kit.tell(parent)
    assert kit.ended(parent) == 0


def test_whoever_waits_too_long_for_another_is_told_so(directory):
    kit.begin(directory).close()
    with exclusive(directory / "perdure.lock", kit.soon(), None):
        with pytest.raises(Busy, match="try again"):
            start(directory, kit.soon(0.1), create=True)
    kit.begin(directory).close()


def test_a_directory_without_a_store_is_not_made_where_it_may_not(tmp_path):
    with pytest.raises(NotFound, match="no store"):
        start(tmp_path / "server", kit.soon(), create=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no store"):
        start(tmp_path / "empty", kit.soon(), create=False)
    with pytest.raises(NotFound, match="create it first"):
        start(tmp_path / "nowhere" / "server", kit.soon(), create=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["empty"]


def test_the_log_does_not_grow_for_ever(directory):
    kit.begin(directory).close()
    with (directory / "log").open("a") as log:
        log.write("x" * 5_000_000)
    kit.begin(directory).close()
    assert (directory / "log").stat().st_size < 1_000_000
    assert (directory / "log.1").stat().st_size > 5_000_000
