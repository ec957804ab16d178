"""Stores by way of fsspec, with implementations made up for the purpose: for S3 see beside."""

import errno
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import fsspec
import pytest
from botocore.exceptions import ClientError, CredentialRetrievalError
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from modelserver.core.storage_path import FileInfo
from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from modelserver.sources.storage.base import ObjectStore
from modelserver.sources.storage.fsspec_errors import error_of
from modelserver.sources.storage.fsspec_store import FsspecStore, make_fsspec_store


def read(store: ObjectStore, path: str, name: str, info: FileInfo) -> bytes:
    with closing(store.read(path, name, info, 0, info.size)) as pieces:
        return b"".join(pieces)


# What errors mean…


def answered(code: str, status: int) -> Exception:
    """What botocore raises for such an answer."""
    said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "AnyOperation")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class ClientAuthenticationError(Exception):
    """Azure's exception of that name, as far as it is told by."""


class HttpResponseError(Exception):
    """Azure's, too."""

    status_code = 503


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered("InvalidIdentityToken", 400), UnauthenticatedError),
        (caused(TimeoutError(), answered("RequestTimeout", 400)), UnavailableError),
        (caused(OSError(errno.EINVAL, "x"), answered("PreconditionFailed", 412)), NotFoundError),
        (CredentialRetrievalError(provider="p", error_msg="m"), UnauthenticatedError),
        (caused(OSError("x"), ClientAuthenticationError("m")), UnauthenticatedError),
        (PermissionError(errno.EACCES, "No"), PermissionDeniedError),
        (FileNotFoundError("x"), NotFoundError),
        (NotADirectoryError("x"), FailedPreconditionError),
        (caused(OSError("x"), HttpResponseError("m")), UnavailableError),
        (ConnectionResetError(errno.ECONNRESET, "Reset"), UnavailableError),
        (TimeoutError(), UnavailableError),
        (RuntimeError("Session is closed"), UnavailableError),
        (ValueError("no account_name"), FailedPreconditionError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_errors_are_told_by_what_they_carry(error: Exception, kind: type[ServingError]) -> None:
    meaning = error_of(error, "az://models/m", "az")

    assert type(meaning) is kind
    assert str(meaning).startswith("az://models/m")


# …what implementations do…


class Folders(MemoryFileSystem):
    """An implementation with real folders, which are listed one by one; each test has its own."""

    find = AbstractFileSystem.find
    protocol = "folders"
    made_by: list[int]
    failures: dict[str, Exception]

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.made_by.append(threading.get_ident())

    def ls(self, path: str, detail: bool = True, **options: object) -> Any:
        if path in self.failures:
            raise self.failures[path]
        return super().ls(path, detail=detail, **options)


@pytest.fixture
def folders() -> type[Folders]:
    empty = {"store": {}, "pseudo_dirs": [""], "made_by": [], "failures": {}}
    return type("OwnFolders", (Folders,), empty)


@pytest.fixture
def put(folders: type[Folders]) -> Callable[[str, bytes], None]:
    return folders(skip_instance_cache=True).pipe_file


Put = Callable[[str, bytes], None]


def test_an_implementation_with_folders_is_walked(folders: type[Folders], put: Put) -> None:
    put("/m/1/saved_model.pb", b"graph")
    put("/m/1/assets/deep/vocab.txt", b"")
    put("/m/7", b"x")
    store = FsspecStore("folders", folders)

    assert store.list_versions("/m") == ["1"]
    files = store.list_files("/m/1/")
    assert {(name, info.size, info.digest) for name, info in files.items()} == {
        ("saved_model.pb", 5, ""),
        ("assets/deep/vocab.txt", 0, ""),
    }
    assert read(store, "/m/1", "saved_model.pb", files["saved_model.pb"]) == b"graph"


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(
    folders: type[Folders], put: Put
) -> None:
    put("/m/1/model", b"x")
    put("/m/1/assets/deep/vocab.txt", b"x")
    folders.failures["/m/1/assets/deep"] = ConnectionResetError(errno.ECONNRESET, "Reset")

    with pytest.raises(UnavailableError, match=r"^/m/1: no answer .*Reset"):
        FsspecStore("folders", folders).list_files("/m/1")


def test_a_folder_that_vanishes_during_a_listing_is_none(folders: type[Folders], put: Put) -> None:
    put("/m/1/model", b"x")
    put("/m/1/assets/vocab.txt", b"x")
    folders.failures["/m/1/assets"] = FileNotFoundError("/m/1/assets")

    assert list(FsspecStore("folders", folders).list_files("/m/1")) == ["model"]


def test_an_empty_folder_is_no_missing_one(folders: type[Folders]) -> None:
    folders(skip_instance_cache=True).makedirs("/m/1/assets")
    store = FsspecStore("folders", folders)

    assert store.list_files("/m/1") == {}
    assert store.list_versions("/m/1/assets") == []
    with pytest.raises(NotFoundError, match=r"^/m/2 not found$"):
        store.list_files("/m/2")


def test_a_file_overwritten_within_a_second_is_another(folders: type[Folders], put: Put) -> None:
    put("/m/1/model", b"old")
    store = FsspecStore("folders", folders)
    info = store.list_files("/m/1")["model"]
    put("/m/1/model", b"new")

    assert store.list_files("/m/1")["model"].tag != info.tag
    with pytest.raises(NotFoundError, match=r"^/m/1/model was replaced since it was listed$"):
        read(store, "/m/1", "model", info)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "file", "size": 3}, "states no time of change of it"),
        ({"type": "file", "size": None, "mtime": 0}, "states no size of it"),
        ({"type": "link", "size": 3, "mtime": 0}, "is a link: put a file in its place"),
    ],
    ids=["changes nobody would notice", "of unknown size", "a link"],
)
def test_a_file_of_which_too_little_is_known_is_refused(
    folders: type[Folders], put: Put, entry: dict[str, object], message: str
) -> None:
    put("/m/1/model", b"abc")

    class Vague(folders):  # type: ignore[misc, valid-type]  # a class made for this test
        def ls(self, path: str, detail: bool = True, **options: object) -> Any:
            return [{"name": f"{path}/model", **entry}]

    with pytest.raises(FailedPreconditionError, match=f"^/m/1/model .*{message}"):
        FsspecStore("vague", Vague).list_files("/m/1")


def test_a_link_beside_the_versions_may_be_one(folders: type[Folders], put: Put) -> None:
    class Linked(folders):  # type: ignore[misc, valid-type]  # a class made for this test
        def ls(self, path: str, detail: bool = True, **options: object) -> Any:
            return [{"name": f"{path}/1", "type": "link", "size": 3}]

    assert FsspecStore("linked", Linked).list_versions("/m") == ["1"]


def test_bytes_that_end_too_early_may_come_later(folders: type[Folders], put: Put) -> None:
    put("/m/1/model", b"abc")

    class Truncating(folders):  # type: ignore[misc, valid-type]  # a class made for this test
        def cat_file(self, path: str, start: int, end: int) -> bytes:
            return b"a"

    store = FsspecStore("truncating", Truncating)
    info = store.list_files("/m/1")["model"]

    with pytest.raises(UnavailableError, match=r"^/m/1/model: 1 bytes came for those from 0 to 3$"):
        read(store, "/m/1", "model", info)


def test_threads_do_not_share_what_is_for_one_thread(folders: type[Folders], put: Put) -> None:
    put("/m/1/model", b"x")
    store = FsspecStore("folders", folders)
    folders.made_by.clear()
    store.list_versions("/m")
    store.list_versions("/m")

    other = threading.Thread(target=partial(store.list_versions, "/m"))
    other.start()
    other.join()

    assert folders.made_by == [threading.get_ident(), other.ident]


def test_options_that_are_wrong_are_told_with_the_path(folders: type[Folders]) -> None:
    class Picky(folders):  # type: ignore[misc, valid-type]  # a class made for this test
        def __init__(self, **options: object) -> None:
            raise ValueError("Give an account_name")

    with pytest.raises(FailedPreconditionError, match=r"^/m cannot be read: .*an account_name$"):
        FsspecStore("picky", Picky).list_versions("/m")


# …and those that there are not.


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("file", "give the path of the directory without file://"),
        ("local", "give the path of the directory without local://"),
        ("gcs", "write gs://BUCKET/PATH"),
        ("https", "directories cannot be listed over HTTP"),
        ("warehouse", "fsspec does not know it"),
    ],
)
def test_a_scheme_that_is_not_supported_is_refused_with_what_to_do(
    scheme: str, advice: str
) -> None:
    with pytest.raises(UnimplementedError, match=f"^{scheme}:// is not supported: {advice}"):
        make_fsspec_store(scheme)


def test_memory_is_a_store_for_trials() -> None:
    name = f"test-{secrets.token_hex(4)}"
    fsspec.filesystem("memory").pipe_file(f"/{name}/1/model", b"abc")
    store = make_fsspec_store("memory")

    info = store.list_files(f"memory://{name}/1")["model"]

    assert store.list_versions(f"memory://{name}") == ["1"]
    assert read(store, f"memory://{name}/1", "model", info) == b"abc"


@pytest.mark.parametrize(
    ("scheme", "missing", "advice"),
    [
        ("s3", "fsspec", r"the optional extra: pip install 'modelserver\[s3\]'$"),
        ("s3", "s3fs", r"the optional extra: pip install 'modelserver\[s3\]'$"),
        ("abfs", "fsspec", r"the optional extra: pip install 'modelserver\[fsspec\]', and "),
        ("abfs", "adlfs", "an implementation that is not installed: Install adlfs"),
    ],
)
def test_what_is_not_installed_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str, missing: str, advice: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "registry", {})  # of what was imported

    with pytest.raises(UnimplementedError, match=f"^{scheme}:// needs {advice}"):
        make_fsspec_store(scheme)
