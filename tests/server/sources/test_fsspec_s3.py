"""S3 by way of fsspec, with its real client."""

import gc
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from modelserver.core.storage_path import FileInfo
from modelserver.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
)
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.base import CallKind, ObjectStore
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.fsspec_store import FsspecStore, make_fsspec_store

MEGABYTE = 1 << 20


def read(store: ObjectStore, path: str, name: str, info: FileInfo) -> bytes:
    with closing(store.read(path, name, info, 0, info.size)) as pieces:
        return b"".join(pieces)


def content(size: int) -> bytes:
    """Bytes that are different from place to place."""
    blocks = (hashlib.sha256(b"%d" % block).digest() for block in range(size // 32 + 1))
    return b"".join(blocks)[:size]


class Bucket:
    """A bucket of the test's own, with the means to put something there."""

    def __init__(self, client: Any, name: str) -> None:
        self.uri = f"s3://{name}"
        self.client = client
        self._name = name
        client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes = b"x") -> None:
        self.client.put_object(Bucket=self._name, Key=key, Body=content)

    def put_in_parts(self, key: str, *parts: bytes) -> None:
        place = {"Bucket": self._name, "Key": key}
        upload = place | {"UploadId": self.client.create_multipart_upload(**place)["UploadId"]}
        etags = [
            self.client.upload_part(**upload, PartNumber=number, Body=part)["ETag"]
            for number, part in enumerate(parts, 1)
        ]
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self._name, Key=key)


@pytest.fixture(scope="module", autouse=True)
def environment(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment of a server with credentials for S3, and of nobody in particular."""
    nothing = tmp_path_factory.mktemp("aws") / "nothing"
    variables = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
        "AWS_CONFIG_FILE": str(nothing),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr("fsspec.config.conf", {})
        yield
    gc.collect()  # what is left of a store closes its connections now, not in another test


@pytest.fixture(scope="module")
def s3_client() -> Iterator[Any]:
    with closing(boto3.client("s3", region_name="us-east-1")) as client:
        yield client


@pytest.fixture
def bucket(s3_client: Any) -> Bucket:
    return Bucket(s3_client, f"test-{secrets.token_hex(4)}")


@pytest.fixture(scope="module")
def s3() -> FsspecStore:
    """One store for all tests that count nothing: to connect takes a while."""
    return make_fsspec_store("s3")


def test_versions_are_the_folders_under_the_base_path(s3: FsspecStore, bucket: Bucket) -> None:
    bucket.put("m/1/variables/data")
    bucket.put("m/2/")  # what consoles make for a folder
    bucket.put("m/notes/readme")
    bucket.put("m/7")

    assert sorted(s3.list_versions(f"{bucket.uri}/m")) == ["1", "2", "notes"]


@pytest.mark.parametrize("path", ["", "/", "/m", "/m/"])
def test_an_empty_bucket_or_folder_has_no_versions_and_no_files(
    s3: FsspecStore, bucket: Bucket, path: str
) -> None:
    if path.strip("/"):
        bucket.put("m/")

    assert s3.list_versions(f"{bucket.uri}{path}") == []
    assert s3.list_files(f"{bucket.uri}{path}") == {}


def test_files_are_listed_at_every_depth_with_what_is_stated_of_them(
    s3: FsspecStore, bucket: Bucket
) -> None:
    bucket.put("m/1/saved_model.pb", b"graph")
    bucket.put("m/1/assets/")
    bucket.put("m/1/assets/deep/vocab.txt", b"")
    bucket.put("m/10/other")

    files = s3.list_files(f"{bucket.uri}/m/1/")

    assert {(name, info.size, info.digest) for name, info in files.items()} == {
        ("saved_model.pb", 5, f"md5:{hashlib.md5(b'graph').hexdigest()}"),
        ("assets/deep/vocab.txt", 0, f"md5:{hashlib.md5(b'').hexdigest()}"),
    }
    assert {(info.modified, info.crc32c) for info in files.values()} == {(None, None)}


def test_what_was_uploaded_in_parts_has_a_tag_but_no_digest(
    s3: FsspecStore, bucket: Bucket
) -> None:
    bucket.put_in_parts("m/1/model", bytes(5 * MEGABYTE), b"end")

    info = s3.list_files(f"{bucket.uri}/m/1")["model"]

    assert info.size == 5 * MEGABYTE + 3
    assert info.digest == ""
    assert "-2 " in info.tag


def test_other_content_has_another_tag(s3: FsspecStore, bucket: Bucket) -> None:
    bucket.put("m/1/model", b"old")
    before = s3.list_files(f"{bucket.uri}/m/1")["model"]
    bucket.put("m/1/model", b"new")

    after = s3.list_files(f"{bucket.uri}/m/1")["model"]

    assert after.tag != before.tag
    assert after.digest != before.digest


def test_every_listing_is_a_new_one(s3: FsspecStore, bucket: Bucket) -> None:
    bucket.put("m/1/a")
    before = s3.list_versions(f"{bucket.uri}/m"), list(s3.list_files(f"{bucket.uri}/m/1"))
    bucket.put("m/2/a")
    bucket.put("m/1/b")

    after = sorted(s3.list_versions(f"{bucket.uri}/m")), list(s3.list_files(f"{bucket.uri}/m/1"))

    assert before == (["1"], ["a"])
    assert after == (["1", "2"], ["a", "b"])


def test_a_poll_is_one_listing_and_so_are_the_files_of_a_version(bucket: Bucket) -> None:
    s3 = make_fsspec_store("s3")
    bucket.put("m/1/variables/data")
    bucket.put("m/1/assets/vocab.txt")

    s3.list_versions(f"{bucket.uri}/m")
    s3.list_files(f"{bucket.uri}/m/1")

    assert s3.counts() == {CallKind("list", "ok"): 2}


@pytest.mark.parametrize("path", ["gone", "gone/", "gone/deep", "m/gone"])
@pytest.mark.parametrize("list_path", [FsspecStore.list_versions, FsspecStore.list_files])
def test_a_missing_path_is_an_error_and_not_empty(
    s3: FsspecStore, bucket: Bucket, list_path: Callable[[FsspecStore, str], object], path: str
) -> None:
    bucket.put("m/1/model")

    with pytest.raises(NotFoundError, match=f"^{bucket.uri}/{path} not found$"):
        list_path(s3, f"{bucket.uri}/{path}")


@pytest.mark.parametrize("path", ["", "/m"])
@pytest.mark.parametrize("list_path", [FsspecStore.list_versions, FsspecStore.list_files])
def test_a_missing_bucket_is_told_from_a_missing_folder(
    s3: FsspecStore, list_path: Callable[[FsspecStore, str], object], path: str
) -> None:
    with pytest.raises(NotFoundError, match=f"^s3://nowhere{path} not found .*bucket"):
        list_path(s3, f"s3://nowhere{path}")


@pytest.mark.parametrize("path", ["m/file", "m/file/", "m/file/1", "m/file/1/2"])
@pytest.mark.parametrize("list_path", [FsspecStore.list_versions, FsspecStore.list_files])
def test_a_path_that_is_or_goes_through_a_file_is_no_directory(
    s3: FsspecStore, bucket: Bucket, list_path: Callable[[FsspecStore, str], object], path: str
) -> None:
    bucket.put("m/file")

    with pytest.raises(FailedPreconditionError, match=f"^{bucket.uri}/{path}; Not a directory$"):
        list_path(s3, f"{bucket.uri}/{path}")


@pytest.mark.parametrize("uri", ["s3://", "s3:///m"])
def test_a_uri_without_a_bucket_is_refused(s3: FsspecStore, uri: str) -> None:
    with pytest.raises(InvalidArgumentError, match="names no bucket: write s3://BUCKET/PATH"):
        s3.list_versions(uri.replace("/m", ""))


def test_a_name_that_s3_does_not_allow_is_refused_in_one_line(s3: FsspecStore) -> None:
    with pytest.raises(FailedPreconditionError, match=r"^s3://B_d!/m cannot be read: [^\n]*name"):
        s3.list_versions("s3://B_d!/m")


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 5 * MEGABYTE), (3, 17), (4 * MEGABYTE - 1, 4 * MEGABYTE + 1), (7, 7)],
    ids=["all", "few", "across requests", "none"],
)
def test_a_range_is_read_in_pieces_of_a_megabyte_at_most(
    s3: FsspecStore, bucket: Bucket, start: int, stop: int
) -> None:
    bucket.put("m/1/variables/data", content(5 * MEGABYTE))
    info = s3.list_files(f"{bucket.uri}/m/1")["variables/data"]

    pieces = list(s3.read(f"{bucket.uri}/m/1", "variables/data", info, start, stop))

    assert b"".join(pieces) == content(5 * MEGABYTE)[start:stop]
    assert all(0 < len(piece) <= MEGABYTE for piece in pieces)


@pytest.mark.parametrize("name", ["with space, comma", "100%", "%20", "größe", "a#b", "a?b=c&d+e"])
def test_a_file_of_any_name_is_listed_and_read(s3: FsspecStore, bucket: Bucket, name: str) -> None:
    bucket.put(f"m/1/{name}", name.encode())
    files = s3.list_files(f"{bucket.uri}/m/1/")

    assert list(files) == [name]
    assert read(s3, f"{bucket.uri}/m/1/", name, files[name]) == name.encode()


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        pytest.param(b"new", "was replaced since it was listed", id="same size"),
        pytest.param(b"newer", "was replaced since it was listed", id="longer"),
        pytest.param(b"n", "was replaced since it was listed", id="shorter"),
        pytest.param(b"", "is shorter than it was listed", id="empty"),
        pytest.param(None, "not found", id="gone"),
    ],
)
def test_a_file_that_is_another_than_was_listed_is_not_read(
    s3: FsspecStore, bucket: Bucket, replacement: bytes | None, message: str
) -> None:
    bucket.put("m/1/model", b"old")
    info = s3.list_files(f"{bucket.uri}/m/1")["model"]
    if replacement is None:
        bucket.delete("m/1/model")
    else:
        bucket.put("m/1/model", replacement)

    with pytest.raises(NotFoundError, match=f"^{bucket.uri}/m/1/model {message}"):
        read(s3, f"{bucket.uri}/m/1", "model", info)


def test_a_file_that_is_replaced_while_it_is_read_never_comes_whole(
    s3: FsspecStore, bucket: Bucket
) -> None:
    bucket.put("m/1/model", content(5 * MEGABYTE))
    info = s3.list_files(f"{bucket.uri}/m/1")["model"]
    pieces = s3.read(f"{bucket.uri}/m/1", "model", info, 0, info.size)
    next(pieces)
    bucket.put("m/1/model", bytes(5 * MEGABYTE))

    with pytest.raises(NotFoundError, match=r"/m/1/model was replaced since it was listed$"):
        list(pieces)


def test_several_threads_use_one_store(s3: FsspecStore, bucket: Bucket) -> None:
    bucket.put("m/1/model", content(8000))
    info = s3.list_files(f"{bucket.uri}/m/1")["model"]
    found: dict[int, bytes] = {}

    def read_part(part: int) -> None:
        start = part * 1000
        pieces = s3.read(f"{bucket.uri}/m/1", "model", info, start, start + 1000)
        found[part] = b"".join(pieces)

    readers = [threading.Thread(target=partial(read_part, part)) for part in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert b"".join(found[part] for part in range(8)) == content(8000)


def test_calls_are_counted_by_what_came_of_them(bucket: Bucket) -> None:
    s3 = make_fsspec_store("s3")
    bucket.put("m/1/model", b"abc")
    info = s3.list_files(f"{bucket.uri}/m/1")["model"]
    read(s3, f"{bucket.uri}/m/1", "model", info)
    bucket.delete("m/1/model")
    with pytest.raises(NotFoundError):
        read(s3, f"{bucket.uri}/m/1", "model", info)

    assert s3.counts() == {
        CallKind("list", "ok"): 1,
        CallKind("read", "ok"): 1,
        CallKind("metadata", "ok"): 1,
        CallKind("read", "404"): 1,
    }


def test_a_version_is_copied_into_the_cache(
    s3: FsspecStore, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("m/1/saved_model.pb", b"graph")
    bucket.put("m/1/variables/data", content(5 * MEGABYTE))
    bucket.put("m/1/assets/empty", b"")
    storage = CachedStorage(s3, VersionCache(tmp_path / "cache"))
    version = storage.locate(f"{bucket.uri}/m/1", storage.list_files(f"{bucket.uri}/m/1"))

    release = storage.hold(version)

    found = {
        str(path.relative_to(version.path)): path.read_bytes()
        for path in Path(version.path).rglob("*")
        if path.is_file()
    }
    assert found == {
        "saved_model.pb": b"graph",
        "variables/data": content(5 * MEGABYTE),
        "assets/empty": b"",
    }
    release()
    storage.stop()


# Who may not, and what does not answer…


def test_without_credentials_it_is_said_how_to_give_some_and_they_are_looked_for_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = make_fsspec_store("s3")
    bucket.put("m/1/model")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(UnauthenticatedError, match=f"^{bucket.uri}/m: .*AWS_ACCESS_KEY_ID"):
        s3.list_versions(f"{bucket.uri}/m")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    assert s3.list_versions(f"{bucket.uri}/m") == ["1"]


def test_a_public_bucket_needs_no_credentials_where_fsspec_is_told_so(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = make_fsspec_store("s3")
    bucket.put("m/1/model")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    conf: dict[str, Any] = {}
    fsspec.config.set_conf_env(conf, {"FSSPEC_S3_ANON": "true"})
    monkeypatch.setattr("fsspec.config.conf", conf)

    assert s3.list_versions(f"{bucket.uri}/m") == ["1"]


class Refusals(ThreadingHTTPServer):
    """A server that answers every request with one and the same error of S3."""

    status = 500
    code = "InternalError"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class RefusalHandler(BaseHTTPRequestHandler):
    server: Refusals

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.server.code}</Code><Message>Sorry</Message></Error>".encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusals]:
    with Refusals(("127.0.0.1", 0), RefusalHandler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AccessDenied", PermissionDeniedError, "; Permission denied .*Grant s3:ListBucket"),
        (403, "InvalidAccessKeyId", UnauthenticatedError, ": .*InvalidAccessKeyId.*AWS_ACCESS_KEY"),
        (400, "ExpiredToken", UnauthenticatedError, ": .*ExpiredToken.*AWS_ACCESS_KEY"),
        (401, "Whatever", UnauthenticatedError, ": .*Whatever.*AWS_ACCESS_KEY"),
        (500, "InternalError", UnavailableError, r": the service answered 500 \(Sorry\)$"),
        (503, "ServiceUnavailable", UnavailableError, r": the service answered 503 \(Sorry\)$"),
        (429, "TooMany", UnavailableError, r": the service answered 429 \(Sorry\)$"),
        (400, "InvalidRequest", FailedPreconditionError, r": the service refused with 400 \(Sorry"),
    ],
)
def test_what_s3_answers_is_put_into_domain_words(
    refusals: Refusals, status: int, code: str, kind: type[ServingError], message: str
) -> None:
    refusals.status, refusals.code = status, code
    store = make_fsspec_store("s3")
    info = FileInfo(3, "tag")

    for call in (
        partial(store.list_versions, "s3://models/m"),
        partial(store.list_files, "s3://models/m"),
        partial(read, store, "s3://models", "m", info),
    ):
        with pytest.raises(kind, match=f"^s3://models/m{message}") as raised:
            call()
        assert type(raised.value) is kind
    assert store.counts() == {CallKind("list", str(status)): 2, CallKind("read", str(status)): 1}


def test_a_service_out_of_reach_is_unavailable(refusals: Refusals) -> None:
    refusals.server_close()
    store = make_fsspec_store("s3")

    with pytest.raises(UnavailableError, match=r"^s3://models/m: no answer "):
        store.list_versions("s3://models/m")
    assert store.counts() == {CallKind("list", "no answer"): 1}
