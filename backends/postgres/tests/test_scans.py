"""Much data in little memory: the process may take far less than the data has."""

import perdure
import pytest

ROWS = 150_000  # of two kilobytes each


@pytest.fixture(scope="module")
def large(server, workers):
    url = server.url()
    assert workers.wait(workers.start("load", url=url, rows=ROWS)) == [0]
    return url


def test_an_arrow_stream_is_one_commit(large):
    with perdure.open(large, mode="r") as store:
        assert store.head().seq == 1
        assert store.memories.count() == ROWS
        first = store.memories["m0000000"]
        assert len(first.text) == 2_000


def test_scans_and_verify_hold_little(large, workers):
    jobs = [("scan", {"rows": ROWS}), ("check", {})]
    assert [workers.wait(workers.start(job, url=large, **more)) for job, more in jobs] == [[0], [0]]


def test_the_bound_is_one(large, workers):
    assert workers.wait(workers.start("hoard", url=large)) == [0]
