import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError
from modelserver.sources import All, MonitoredServable
from modelserver.sources.decision import PollState, Snapshot, decide
from modelserver.sources.storage.file_system import FileSystemStorage


@pytest.fixture
def storage() -> FileSystemStorage:
    return FileSystemStorage()


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


def test_a_child_that_cannot_be_looked_at_is_named_instead_of_seeming_gone(
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

    assert storage.list_versions("/models/m") == ["1"]


def test_a_link_that_cannot_be_followed_costs_its_version_alone(
    storage: FileSystemStorage, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").symlink_to("x" * 300)
    (tmp_path / "notes").symlink_to("x" * 300)
    servable = MonitoredServable("m", str(tmp_path), lambda _: [], All())

    def read_version(name: str) -> StoragePath:
        path = servable.path_of(name)
        return storage.locate(path, storage.list_files(path))

    snapshot = Snapshot(storage.list_versions(str(tmp_path)), read_version, 0.0, 0.0)
    decision = decide(servable, snapshot, PollState())

    assert decision.aspired is not None
    assert [data.id.version for data in decision.aspired] == [1]
    assert str(decision.held_back[2].error) == f"{tmp_path}/2; File name too long"
