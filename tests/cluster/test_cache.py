"""What is built is built once, and anew when its inputs change."""

import threading

import pytest

from testcluster.cache import cached, content_hash
from testcluster.errors import ClusterError


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    return tmp_path


def hash_of(folder, *others):
    return content_hash(list(folder.iterdir()), folder, *others)


def test_the_content_hash_is_that_of_equal_content_elsewhere(sources, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("copy")
    for file in sources.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())

    assert hash_of(elsewhere, "flag") == hash_of(sources, "flag")


def test_the_content_hash_changes_with_bytes_names_and_other_inputs(sources):
    before = hash_of(sources, "flag")

    assert hash_of(sources, "other") != before
    (sources / "a").write_text("3")
    changed = hash_of(sources, "flag")
    (sources / "a").rename(sources / "c")

    assert len({before, changed, hash_of(sources, "flag")}) == 3


def test_what_is_cached_is_built_once_also_by_many_at_once(tmp_path):
    builds = []
    together = threading.Barrier(4)

    def ask():
        together.wait()
        cached(tmp_path / "thing", builds.append)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(builds) == 1
    assert (tmp_path / "thing").is_dir()


def test_a_failed_build_is_not_taken_for_a_result(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise ClusterError("no")

    with pytest.raises(ClusterError):
        cached(tmp_path / "thing", fail)
    built = cached(tmp_path / "thing", lambda folder: (folder / "whole").touch())

    assert [file.name for file in built.iterdir()] == ["whole"]
