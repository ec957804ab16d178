import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError
from modelserver.sources.storage.file_system import FileSystemStorage


@pytest.fixture
def storage() -> FileSystemStorage:
    return FileSystemStorage()


def test_a_link_to_a_directory_counts_as_a_version(
    storage: FileSystemStorage, tmp_path: Path
) -> None:
    (tmp_path / "exports" / "a").mkdir(parents=True)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "1").symlink_to(tmp_path / "exports" / "a")

    assert storage.list_versions(str(tmp_path / "base")) == ["1"]


def test_links_are_followed_inside_a_version(storage: FileSystemStorage, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "vocab.txt").write_text("abc")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "assets").symlink_to(tmp_path / "shared")
    (tmp_path / "1" / "copy.txt").symlink_to(tmp_path / "shared" / "vocab.txt")

    files = storage.list_files(str(tmp_path / "1"))

    assert {name: info.size for name, info in files.items()} == {
        "assets/vocab.txt": 3,
        "copy.txt": 3,
    }


@pytest.mark.parametrize("target", ["nowhere", "dead"], ids=["dangling", "to itself"])
def test_a_link_that_leads_nowhere_is_passed_over(
    storage: FileSystemStorage, tmp_path: Path, target: str
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "dead").symlink_to(tmp_path / target)
    (tmp_path / "1" / "dead").symlink_to(tmp_path / "1" / target)

    assert storage.list_versions(str(tmp_path)) == ["1"]
    assert storage.list_files(str(tmp_path / "1")) == {}


def test_a_link_back_to_a_folder_above_ends_the_descent(
    storage: FileSystemStorage, tmp_path: Path
) -> None:
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "variables" / "data").write_text("x")
    (tmp_path / "1" / "variables" / "loop").symlink_to(tmp_path / "1")

    files = storage.list_files(str(tmp_path / "1"))

    assert list(files) == ["variables/data"]


def test_a_files_time_of_change_is_told(storage: FileSystemStorage, tmp_path: Path) -> None:
    file = tmp_path / "1" / "model"
    file.parent.mkdir()
    file.write_text("x")
    os.utime(file, (1234.5, 1234.5))

    assert storage.list_files(str(tmp_path / "1"))["model"].modified == 1234.5


def test_a_base_path_that_is_a_file_is_refused(storage: FileSystemStorage, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(FailedPreconditionError, match=f"^{file}; Not a directory$"):
        storage.list_versions(str(file))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(errno.EACCES, FailedPreconditionError, id="permission"),
        pytest.param(errno.ENOENT, NotFoundError, id="missing"),
        pytest.param(errno.ESTALE, UnavailableError, id="stale-mount"),
        pytest.param(errno.EIO, UnavailableError, id="input-output"),
    ],
)
def test_errors_of_the_operating_system_are_put_into_domain_words(
    storage: FileSystemStorage, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def refuse(path: str) -> None:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(kind, match=r"^/models/m( not found|; .+)$"):
        storage.list_versions("/models/m")


def test_a_child_that_cannot_be_looked_at_fails_the_listing_instead_of_seeming_gone(
    storage: FileSystemStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StaleEntry:
        name = "1"

        def is_dir(self) -> bool:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/models/m/1")

    @contextmanager
    def scan(_: str) -> Iterator[list[StaleEntry]]:
        yield [StaleEntry()]

    monkeypatch.setattr(os, "scandir", scan)

    with pytest.raises(UnavailableError, match=r"^/models/m/1; Stale file handle$"):
        storage.list_versions("/models/m")
