"""Uploads of many files, of large ones, and of one during whose download its server is killed."""

import json
import random
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelserver.sources.cache.checksum import extend
from modelserver.sources.cache.download import WORKERS
from modelserver.sources.cache.parts import PART_BYTES
from modelserver.upload_manifest import MANIFEST, StatedFile, render_manifest
from testcluster.faults import Stall

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

MEGABYTE = 2**20


# Many…


@pytest.mark.tensorflow
def test_of_a_thousand_files_with_a_manifest_none_is_fetched_before_all_are_there(on_bucket):
    with on_bucket.uploading() as upload:
        upload.add({f"assets.extra/{n:03}": b"%d" % n for n in range(1000)})
        *names, last = random.Random(7).sample(sorted(upload.files), len(upload.files))
        upload.add({MANIFEST: manifest(upload.files)})
        upload.put_and_check([MANIFEST])
        for name in names:
            upload.put(name)
            if len(upload.missing) in (700, 300, 1):
                upload.check_is_waited_for()
        assert names_read(on_bucket.place, upload.version) == {MANIFEST}
        upload.put(last)
        upload.check_is_taken()

    assert on_bucket.cached(upload.version) == upload.files


def manifest(files):
    return render_manifest(
        {name: StatedFile(len(content), extend(0, content)) for name, content in files.items()}
    )


def names_read(bucket, version):
    return {r.name.removeprefix(f"m/{version}/") for r in bucket.reads(version)}


# …large…

WATCHED_UPLOAD = Path(__file__).with_name("watched_upload.py")
NUM_SHARDS, SHARD_BYTES = 12, 256 * MEGABYTE
SHARDS = [f"variables/variables.data-{n:05}-of-{NUM_SHARDS:05}" for n in range(NUM_SHARDS)]
GRAPH_WITH_VARIABLES = b"\x12\x02\x1a\x00"  # one MetaGraph, with an empty SaverDef
MEMORY_BYTES = 64 * MEGABYTE


def test_of_three_gigabytes_nothing_is_fetched_before_the_last_shard_is_there(
    large_bucket, tmp_path, cache
):
    shard = bytes(SHARD_BYTES)
    sizes = put_graph_and_index(large_bucket)
    with watching(large_bucket, tmp_path / "events", cache) as (process, events):
        large_bucket.wait_for_polls()
        for name in SHARDS[:-1]:
            large_bucket.put(1, name, shard)
        large_bucket.wait_for_polls()
        assert events()[-1] == {"heldBack": {"1": f"waiting for upload: {SHARDS[-1]}"}}
        assert not any("loaded" in event for event in events())
        assert names_read(large_bucket, 1).isdisjoint(SHARDS)
        large_bucket.put(1, SHARDS[-1], shard)
        assert process.wait(120) == 0

    loaded = next(event for event in events() if "loaded" in event)
    assert (loaded["loaded"], loaded["hasTensorFlow"]) == (1, False)
    assert loaded["sizes"] == sizes
    assert loaded["grownBytes"] < MEMORY_BYTES


def put_graph_and_index(bucket):
    """Begin version 1 of a model of large shards; returns the sizes of all its files."""
    index = index_of(NUM_SHARDS, SHARD_BYTES)
    bucket.put(1, "saved_model.pb", GRAPH_WITH_VARIABLES)
    bucket.put(1, "variables/variables.index", index)
    small = {"saved_model.pb": len(GRAPH_WITH_VARIABLES), "variables/variables.index": len(index)}
    return {**small, **dict.fromkeys(SHARDS, SHARD_BYTES)}


@contextmanager
def watching(bucket, log, cache):
    """A process that watches the bucket, and the function that says what it has told so far."""
    command = [sys.executable, WATCHED_UPLOAD, bucket.base_path, cache]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, env=bucket.environment)
    try:
        yield process, lambda: [json.loads(line) for line in log.read_text().splitlines()]
    finally:
        process.kill()
        process.wait()


def index_of(num_shards, shard_bytes):
    """The index of a checkpoint with one tensor in each shard: a table in LevelDB's format, of one
    block, beside the block that says where it is.
    """
    header = field(1, num_shards)
    tensors = [(b"w%05d" % n, field(3, n) + field(5, shard_bytes)) for n in range(num_shards)]
    data = block([(b"", header), *tensors])
    where = block([(b"x", varint(0) + varint(len(data)))])
    start = len(data) + len(BLOCK_END)
    footer = (varint(0) * 2 + varint(start) + varint(len(where))).ljust(40, b"\0")
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    return data + BLOCK_END + where + BLOCK_END + footer + magic


BLOCK_END = b"\0crc!"


def block(entries):
    lengths = [(varint(0) + varint(len(key)) + varint(len(value))) for key, value in entries]
    rows = zip(lengths, entries, strict=True)
    content = b"".join(length + key + value for length, (key, value) in rows)
    return content + struct.pack("<II", 0, 1)


def field(number, value):
    return varint(number << 3) + varint(value)


def varint(value):
    low = bytearray()
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])


# …and interrupted.

LARGE = "assets.extra/large"
NUM_PARTS_HERE = 4
SIZE = (NUM_PARTS_HERE + WORKERS) * PART_BYTES
ALL = {"versionPolicy": {"all": {}}}


@pytest.mark.tensorflow
@pytest.mark.parametrize("members", [{}, ALL], ids=["latest", "all"])
def test_a_server_killed_during_a_download_goes_on_and_serves_what_it_has_at_once(
    start_scene, large_bucket, members
):
    scene = start_scene(**members)
    killed = kill_during_download(scene, large_bucket)

    scene.server.start().wait_until_ready()
    with scene.server.asked() as (answers, failures):
        scene.server.eventually(lambda: answers)
        assert answers == {(1, 3.0)}
        assert large_bucket.reads(1) == []
        large_bucket.faults.heal()
        scene.server.eventually(lambda: 2 in scene.server.available())
        scene.server.eventually(lambda: (2, 6.0) in answers)

    finished = {r.byte_range for r in killed if r.sent == PART_BYTES}
    assert len(finished) == NUM_PARTS_HERE
    assert finished.isdisjoint(r.byte_range for r in large_reads(large_bucket))
    fetched = sum(r.sent for r in [*killed, *large_reads(large_bucket)])
    assert SIZE <= fetched <= SIZE + WORKERS * PART_BYTES
    assert failures == []


def kill_during_download(scene, bucket):
    """Kill the server when it has some parts of version 2, and the beginnings of as many more as it
    fetches at a time; their rest comes once that is healed. Returns the reads so far.
    """
    bucket.faults.inject(Stall(MEGABYTE), kind="read", under=f"m/2/{LARGE}", when=is_late)
    bucket.put(2, LARGE, random.Random(7).randbytes(MEGABYTE) * (SIZE // MEGABYTE))
    for name, content in scene.contents(2).items():
        bucket.put(2, name, content)
    # Who asks for the last part has finished an earlier one.
    scene.server.eventually(lambda: len(large_reads(bucket)) == NUM_PARTS_HERE + WORKERS)
    scene.server.kill()
    killed = large_reads(bucket)
    bucket.faults.clear()
    return killed


def is_late(request):
    """Whether a part is read that is not among the first ones."""
    return request.byte_range[0] >= NUM_PARTS_HERE * PART_BYTES


def large_reads(bucket):
    return [r for r in bucket.reads(2) if r.name.endswith(LARGE)]
