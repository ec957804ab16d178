"""In whatever order a tool writes a version, and however slowly: it is loaded when it is whole, and
never before.
"""

import shutil

import pytest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

GRAPH, INDEX, SHARD = "saved_model.pb", "variables/variables.index", "variables/variables.data-"
LAST_SHARD = f"{SHARD}00003-of-00004"
FINGERPRINT = "fingerprint.pb"  # TensorFlow writes it last, and needs it nowhere


# Object by object, file by file…


def by(*kinds):
    """The order of what begins with the first of `kinds`, then the second, …; the rest before."""

    def rank(name):
        return next((n for n, kind in enumerate(kinds) if name.startswith(kind)), -1), name

    return lambda names: sorted(names, key=rank)


ORDERS = {
    "graph-index-shards": by(GRAPH, INDEX, SHARD),  # several threads of gsutil
    "alphabetical": sorted,  # gsutil, rsync
    "reverse": lambda names: sorted(names, reverse=True),
    "shards-last": by(INDEX, GRAPH, SHARD),
    "index-last": by(SHARD, GRAPH, INDEX),
    "graph-last": by(SHARD, INDEX, GRAPH),  # TensorFlow
}
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())


@each_order
def test_an_upload_to_a_bucket_is_loaded_once_its_last_object_is_there(on_bucket, order):
    with on_bucket.uploading() as upload:
        *early, last, late = split_at_last_needed(order(upload.files))
        upload.put_and_check(early)
        assert [r.name for r in on_bucket.place.reads(upload.version) if SHARD in r.name] == []
        upload.put(last)
        upload.check_is_taken()

    for name in late:
        upload.put(name)


@each_order
def test_a_copy_into_a_directory_is_loaded_once_its_last_file_is_there(on_disk, order):
    with on_disk.uploading() as upload:
        *early, last, late = split_at_last_needed(order(upload.files))
        upload.put_and_check(early)
        upload.put(last)
        upload.check_is_taken()

    for name in late:
        upload.put(name)


def split_at_last_needed(names):
    """The names up to the last one that loading needs, and the list of those after it."""
    end = max(n for n, name in enumerate(names) if name != FINGERPRINT) + 1
    return [*names[:end], names[end:]]


def test_a_file_that_loading_does_not_need_may_follow(on_disk):
    with on_disk.uploading() as upload:
        for name in sorted(upload.files, reverse=True):
            if name != FINGERPRINT:
                upload.put(name)

    upload.put(FINGERPRINT)

    on_disk.place.wait_for_polls()
    assert on_disk.server.row(upload.version)["reason"] == ""


# Piece by piece, and at once…


@pytest.mark.parametrize("growing", [GRAPH, INDEX, LAST_SHARD])
def test_a_file_that_grows_is_waited_for_to_its_last_byte(on_disk, growing):
    with on_disk.uploading() as upload:
        for name in upload.files.keys() - {growing}:
            upload.put(name)
        content = upload.files[growing]
        lengths = [0, len(content) // 4, len(content) // 2, len(content) - 1]
        with open(on_disk.place.path / str(upload.version) / growing, "wb", buffering=0) as file:
            for length in lengths:
                file.write(content[file.tell() : length])
                found = f"{length} of {len(content)} bytes" if SHARD in growing else "truncated"
                assert upload.message_after_polls() == f"waiting for upload: {growing} ({found})"
            file.write(content[-1:])
        upload.check_is_taken()


def test_a_directory_that_is_renamed_into_place_is_loaded_then(on_disk, export):
    with on_disk.uploading() as upload:
        partial = on_disk.place.path / f".{upload.version}.partial"
        shutil.copytree(export(upload.version), partial)
        on_disk.place.wait_for_polls()
        assert on_disk.server.row(upload.version) == {}
        partial.rename(on_disk.place.path / str(upload.version))
        upload.check_is_taken()


def test_a_link_that_is_turned_from_a_part_to_the_whole_is_loaded_then(on_disk, export, tmp_path):
    with on_disk.uploading() as upload:
        whole = export(upload.version)
        part = shutil.copytree(whole, tmp_path / "part")
        (part / LAST_SHARD).unlink()
        link = on_disk.place.path / str(upload.version)
        link.symlink_to(part)
        assert upload.message_after_polls() == f"waiting for upload: {LAST_SHARD}"
        (tmp_path / "link").symlink_to(whole)
        (tmp_path / "link").replace(link)
        upload.check_is_taken()


def test_what_tensorflow_saves_into_the_base_path_is_served(on_disk, export):
    with on_disk.uploading() as upload:
        export(upload.version, on_disk.place.path / str(upload.version))
