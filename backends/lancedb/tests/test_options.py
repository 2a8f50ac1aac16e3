"""URLs of LanceDB stores: what they say, what is refused, and that no secret is shown."""

import logging
import os
import traceback
from pathlib import Path
from urllib.parse import quote, urlencode

import perdure_lancedb as plugins
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import InvalidURL, PermissionDenied
from perdure_lancedb._errors import hide, translate, translated
from perdure_lancedb._options import BUCKET_OPTIONS, OPTIONS, parse_url

WORDS = ("Zq9Alpha", "Zq9Beta", "Zq9Gamma")
SECRET = "Zq9Alpha/Zq9Beta+Zq9Gamma"
KEY = "AKIATESTTESTTEST"
LOGIN = f"{KEY}:{quote(SECRET, safe='')}"
BUCKET = f"lancedb+s3://{LOGIN}@bucket"


def quiet(error: BaseException) -> None:
    """Nothing that can be printed of the error holds a part of the secret."""
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(getattr(error, "detail", ""))
    assert not [word for word in WORDS if word in text], text


def test_a_directory_is_relative_or_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_url("lancedb:///agent.lance", "rw").directory == tmp_path / "agent.lance"
    assert parse_url("lancedb:////srv/agents", "rw").directory == Path("/srv/agents")
    assert parse_url("lancedb:///50%25%20%C3%BC%23%3F", "rw").directory == tmp_path / "50% ü#?"
    assert parse_url("lancedb:///~/a", "rw").directory == tmp_path / "~" / "a"


def test_options_of_a_directory():
    plain = parse_url("lancedb:///a", "rw")
    assert (plain.bucket, plain.read_only, plain.fold) == (None, False, 4_000)
    assert parse_url("lancedb:///a", "r").read_only
    given = parse_url("lancedb:///a?mode=ro&fold=1", "rw")
    assert (given.read_only, given.fold) == (True, 1)
    assert len({given, parse_url("lancedb:///a?fold=1", "r"), plain}) == 2


def test_a_bucket_with_all_in_the_url():
    options = parse_url(
        f"{BUCKET}/agents/one/?endpoint=http://127.0.0.1:5000/&allow_http=true&region=eu-central-1&timeout=5",
        "rw",
    )
    assert options.bucket is not None
    assert options.directory is None
    assert (options.bucket.name, options.bucket.prefix) == ("bucket", "agents/one")
    assert (options.bucket.endpoint, options.bucket.region) == ("http://127.0.0.1:5000", "eu-central-1")
    assert (options.bucket.access_key, options.bucket.secret_key, options.bucket.token) == (KEY, SECRET, None)
    assert (options.bucket.allow_http, options.bucket.virtual_hosted, options.fold) == (True, False, 2_000)
    assert options.place == "s3://bucket/agents/one at http://127.0.0.1:5000"


def test_a_bucket_with_the_rest_in_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://[::1]:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "auto")
    found = parse_url("lancedb+s3://bucket/a", "rw").bucket
    assert found is not None
    assert (found.access_key, found.secret_key, found.token) == (KEY, SECRET, "token")
    assert (found.endpoint, found.allow_http, found.region) == ("http://[::1]:9000", True, "auto")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    over = parse_url("lancedb+s3://bucket/a?endpoint=https://host&allow_http=false", "rw").bucket
    assert over is not None
    assert (over.endpoint, over.allow_http, over.region) == ("https://host", False, "us-west-2")


def test_half_of_the_credentials_or_anothers_token_are_refused(monkeypatch):
    with pytest.raises(PermissionDenied, match="AWS_ACCESS_KEY_ID"):
        parse_url("lancedb+s3://bucket/a", "rw")
    for url in (f"lancedb+s3://{KEY}@bucket/a", f"lancedb+s3://:{SECRET[:8]}@bucket/a"):
        with pytest.raises(InvalidURL, match="half"):
            parse_url(url, "rw")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    with pytest.raises(InvalidURL, match="unset it"):
        parse_url(f"{BUCKET}/a", "rw")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(InvalidURL, match="set both") as caught:
        parse_url("lancedb+s3://bucket/a", "rw")
    quiet(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "lancedb://",
        "lancedb:///",
        "lancedb://host/a",
        "lancedb:///a%00b",
        "lancedb:///%FF",
        "lancedb:///a#b",
        "lancedb:///a?nonsense=1",
        "lancedb:///a?endpoint=http://h",
        "lancedb:///a?fold=0",
        "lancedb:///a?fold=many",
        "lancedb:///a?fold=nan",
        "lancedb:///a?timeout=1",
        "lancedb:///a?mode=w",
        "lancedb:///a?mode=ro&mode=ro",
        "lancedb:///a?mode=%00",
        f"{BUCKET}",
        f"{BUCKET}/",
        f"{BUCKET}//",
        f"{BUCKET}/a//b",
        f"{BUCKET}/a/../b",
        f"{BUCKET}/%2E%2E/b",
        f"{BUCKET}/a/./b",
        f"{BUCKET}/a%00b",
        f"{BUCKET}/a%0Ab",
        f"{BUCKET}/a%20b",
        f"{BUCKET}/ü",
        f"{BUCKET}/{'a' * 701}",
        f"{BUCKET}:9000/a",
        f"{BUCKET}/a#b",
        f"lancedb+s3://{LOGIN}@/a",
        f"lancedb+s3://{LOGIN}@No_Bucket/a",
        f"lancedb+s3://{LOGIN}@b..c/a",
        f"lancedb+s3://{LOGIN}@bü/a",
        f"lancedb+s3://{KEY}:a%0Db@bucket/a",
        f"{BUCKET}/a?timeout=nan",
        f"{BUCKET}/a?timeout=0",
        f"{BUCKET}/a?timeout=inf",
        f"{BUCKET}/a?endpoint=",
        f"{BUCKET}/a?endpoint=127.0.0.1:5000",
        f"{BUCKET}/a?endpoint=ftp://host",
        f"{BUCKET}/a?endpoint=http://host",
        f"{BUCKET}/a?endpoint=https://host:99999",
        f"{BUCKET}/a?endpoint=https://host:0",
        f"{BUCKET}/a?endpoint=https://user:{WORDS[0]}%40host",
        f"{BUCKET}/a?endpoint=https://host?a=b",
        f"{BUCKET}/a?endpoint=https://host&virtual_hosted=true",
        f"{BUCKET}/a?allow_http=maybe",
        f"{BUCKET}/a?region=not%20one",
        f"{BUCKET}/a?secret_access_key={WORDS[0]}",
        f"{BUCKET}/a?region=a&region=a",
        # Secrets that were not percent-encoded:
        f"lancedb+s3://{KEY}:{SECRET}@bucket/a",
        f"lancedb+s3://{KEY}:{WORDS[0]}?{WORDS[1]}@bucket/a",
        f"lancedb+s3://{KEY}:{WORDS[0]}#{WORDS[1]}@bucket/a",
        f"lancedb+s3://{KEY}:{WORDS[0]}@{WORDS[1]}@bucket/a",
    ],
)
def test_malformed_urls(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidURL) as caught:
        parse_url(url, "rw")
    quiet(caught.value)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=60), st.sampled_from(["lancedb:///", "lancedb://", "lancedb+s3://", f"{BUCKET}/a"]))
def test_any_text_is_a_store_or_a_clear_error(text, start):
    try:
        options = parse_url(start + text, "rw")
    except (InvalidURL, PermissionDenied) as error:
        quiet(error)
    else:
        assert options.directory is not None or options.bucket is not None


def test_no_secret_is_shown_by_options():
    options = parse_url(f"{BUCKET}/a", "rw")
    shown = f"{options!r} {options} {options.bucket!r} {options.place} {options.identity}"
    assert not [word for word in (*WORDS, KEY) if word in shown]
    assert {SECRET, quote(SECRET, safe=""), KEY} == set(options.secrets)


def test_no_secret_is_left_in_what_a_driver_said(caplog):
    options = parse_url(f"{BUCKET}/a", "rw")
    hide(options.secrets)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(PermissionDenied) as caught:
            with translated(options.place):
                try:
                    raise OSError(f"Generic S3 error: {KEY}")
                except OSError as error:
                    raise ValueError(f"403 Forbidden: {SECRET} and {quote(SECRET, safe='')}") from error
        logging.getLogger(__name__).error("it failed", exc_info=caught.value)
    assert "***" in str(caught.value.detail["driver"])
    quiet(caught.value)
    assert not [word for word in (*WORDS, KEY) if word in caplog.text]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), "storage_error"),
        (OSError("LanceError(IO): No space left on device (os error 28)"), "storage_error"),
        (OSError("LanceError(IO): File too large (os error 27)"), "storage_error"),
        (OSError(5, "Input/output error"), "storage_error"),
        (OSError(30, "Read-only file system"), "permission_denied"),
        (OSError("LanceError(IO): Permission denied (os error 13)"), "permission_denied"),
        (OSError(24, "Too many open files"), "unavailable"),
        (OSError("Retryable commit conflict for version 3: … Please retry"), "busy"),
        (ValueError("LanceError(IO): Generic S3 error: error sending request"), "unavailable"),
        (ValueError("Dataset at path a.lance was not found: Not found: a.lance"), "corrupt_store"),
        (OSError("LanceError(IO): file is corrupt"), "corrupt_store"),
        (RuntimeError("a word that nobody knows"), "storage_error"),
    ],
)
def test_what_drivers_say_has_a_kind_and_a_next_step(error, kind):
    found = translate(error, "here")
    assert found.code == kind
    assert found.message.startswith(
        ("here", "there is no room in here", "the disk of here", "LanceDB failed on here")
    )
    assert found.detail["driver"]


def test_an_interrupted_query_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        with translated("here"):
            raise ValueError("KeyboardInterrupt: ")


def test_one_directory_has_one_identity(tmp_path):
    (tmp_path / "a").mkdir()
    os.symlink(tmp_path / "a", tmp_path / "b")
    first, second = (parse_url(f"lancedb:///{tmp_path}/{name}", "rw") for name in "ab")
    assert first.identity == second.identity
    assert first.identity != parse_url(f"lancedb:///{tmp_path}", "rw").identity
    assert first.identity != parse_url(f"lancedb:///{tmp_path}/none", "rw").identity


def test_every_option_is_described_and_taken():
    assert not set(OPTIONS) & set(BUCKET_OPTIONS)
    assert {"mode", "fold", "index", "method"} == set(plugins.local.describe().options)
    assert set(OPTIONS | BUCKET_OPTIONS) == set(plugins.s3.describe().options)
    given = {
        "mode": "ro",
        "fold": 7,
        "endpoint": "http://bucket.host:1",
        "region": "auto",
        "allow_http": "true",
    }
    given |= {"virtual_hosted": "true", "timeout": "0.5", "index": 9, "method": "hnsw"}
    assert set(given) == set(OPTIONS | BUCKET_OPTIONS)
    found = parse_url(f"{BUCKET}/a?{urlencode(given)}", "rw")
    assert found.bucket is not None
    assert (found.read_only, found.fold, found.bucket.timeout) == (True, 7, 0.5)
    assert (found.bucket.virtual_hosted, found.bucket.endpoint) == (True, "http://bucket.host:1")
