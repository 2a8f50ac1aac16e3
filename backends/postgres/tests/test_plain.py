"""A server that perdure did not start: the suite judges it by its URL."""

import subprocess
import sys

import perdure
import pytest
from perdure import Unsupported, describe_backend

#: Parts of the suite: what a server elsewhere could do differently.
AREAS = ("commits", "compaction", "purge", "processes_")


@pytest.fixture(scope="module")
def plain(servers, tmp_path_factory, cluster):
    with servers.server(tmp_path_factory.mktemp("plain"), cluster) as server:
        yield server


def test_a_plain_server_keeps_the_specification(plain):
    """All of it takes minutes; the embedded server, which is the same engine, has it in the gate."""
    chosen = [part for area in AREAS for part in ("--only", area)]
    url = plain.url(schema="c{unique}").replace("%7B", "{").replace("%7D", "}")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from perdure.cli import main; main()",
            "conformance",
            url,
            "--seed",
            "1",
            *chosen,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed:" not in done.stdout


def test_power_is_not_claimed_of_a_disk_that_cannot_be_seen():
    assert "power" not in describe_backend("postgresql").levels
    assert "power" in describe_backend("postgresql+embedded").levels
    assert describe_backend("postgresql").durability == "power"


def test_a_database_that_has_not_every_text_is_refused(plain):
    plain.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(Unsupported, match="ENCODING 'UTF8'"):
        perdure.open(plain.url(database="latin"))
