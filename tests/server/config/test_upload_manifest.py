"""What a version says of itself in its manifest, and what it then lacks."""

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.config import ModelConfig, ModelList, ServerConfig
from modelserver.core.servable import ServableId
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import InvalidArgumentError, UnavailableError
from modelserver.served_models import ServedModels
from modelserver.upload_manifest import (
    MANIFEST,
    MAX_BYTES,
    StatedFile,
    UploadManifest,
    parse_manifest,
    render_manifest,
)

PATIENCE_SECONDS = 30

HOSTILE = {
    "empty": b"",
    "no-json": b"size: 3",
    "cut-short": b'{"files": {"graph": {"size": 3',
    "no-utf-8": b'{"files": {"\xff": {"size": 3}}}',
    "half-a-character": b'{"files": {"\\ud800": {"size": 3}}}',
    "nested": b"[" * 100_000,
    "nested-and-closed": b'{"files": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "no-object": b"[]",
    "number": b"7",
    "no-files": b"{}",
    "files-null": b'{"files": null}',
    "files-list": b'{"files": ["graph"]}',
    "entry-number": b'{"files": {"graph": 3}}',
    "no-size": b'{"files": {"graph": {"crc32c": "00000000"}}}',
    "size-text": b'{"files": {"graph": {"size": "3"}}}',
    "size-true": b'{"files": {"graph": {"size": true}}}',
    "size-fraction": b'{"files": {"graph": {"size": 3.0}}}',
    "size-infinite": b'{"files": {"graph": {"size": Infinity}}}',
    "size-negative": b'{"files": {"graph": {"size": -1}}}',
    "size-beyond-64-bits": b'{"files": {"graph": {"size": 9223372036854775808}}}',
    "size-endless": b'{"files": {"graph": {"size": ' + b"1" * 10_000 + b"}}}",
    "crc-number": b'{"files": {"graph": {"size": 3, "crc32c": 7}}}',
    "crc-short": b'{"files": {"graph": {"size": 3, "crc32c": "abc"}}}',
    "crc-prefixed": b'{"files": {"graph": {"size": 3, "crc32c": "0x000000"}}}',
    "crc-other-digits": '{"files": {"graph": {"size": 3, "crc32c": "٠٠٠٠٠٠٠٠"}}}'.encode(),
    "long-name": b'{"files": {"' + b"a" * 100_000 + b'": {"size": 3}}}',
    "huge": b'{"files": {' + b" " * MAX_BYTES + b"}}",
}


def nothing(path):
    del path
    return []


def weights(path):
    return [] if "weights" in path.files else ["weights"]


def version_of(content, files):
    """A version elsewhere, with that manifest, and files of these sizes or infos."""
    infos = {name: FileInfo(f) if isinstance(f, int) else f for name, f in files.items()}
    infos[MANIFEST] = FileInfo(len(content))
    opened = {MANIFEST: content}
    return StoragePath("/m/1", infos, "gs://b/m/1", lambda name: io.BytesIO(opened[name]))


def stating(**files):
    return json.dumps({"files": files}).encode()


def test_a_version_without_a_manifest_is_the_platform_s_alone():
    check = UploadManifest(weights)

    assert check(StoragePath("/m/1", {"weights": FileInfo(1)})) == []
    assert check(StoragePath("/m/1")) == ["weights"]


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        pytest.param({"graph": 3}, [], id="there"),
        pytest.param({"graph": 3, "other": 9}, [], id="others-are-free"),
        pytest.param({}, ["graph"], id="missing"),
        pytest.param({"graph": 2}, ["graph (2 of 3 bytes)"], id="cut-short"),
        pytest.param({"graph": 4}, ["graph (4 bytes instead of 3)"], id="too-long"),
        pytest.param({"graph": FileInfo(3, crc32c=0xABCDEF01)}, [], id="checksum-equal"),
        pytest.param(
            {"graph": FileInfo(3, crc32c=1)},
            ["graph (CRC32C 00000001 instead of abcdef01)"],
            id="checksum-other",
        ),
    ],
)
def test_a_version_lacks_what_its_manifest_names_and_the_listing_has_not_or_has_otherwise(
    files, missing
):
    content = stating(graph={"size": 3, "crc32c": "ABCDEF01"})

    assert UploadManifest(nothing)(version_of(content, files)) == missing


def test_a_checksum_that_is_not_stated_is_not_compared():
    path = version_of(stating(graph={"size": 3}), {"graph": FileInfo(3, crc32c=1)})

    assert UploadManifest(nothing)(path) == []


def test_what_the_manifest_has_not_said_the_platform_may():
    content = stating(graph={"size": 3})

    assert UploadManifest(weights)(version_of(content, {"graph": 3})) == ["weights"]
    assert UploadManifest(weights)(version_of(content, {"graph": 3, "weights": 1})) == []


def test_the_platform_is_not_asked_before_the_manifest_is_satisfied():
    content = stating(graph={"size": 3})

    assert UploadManifest(weights)(version_of(content, {})) == ["graph"]


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_manifest_that_cannot_be_understood_is_itself_what_is_missing(content):
    (missing,) = UploadManifest(nothing)(version_of(content, {"graph": 3}))

    assert missing.startswith(f"{MANIFEST} (not readable: ")
    assert len(missing) < 300
    assert missing.encode()


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,files01 ', max_size=60).map(str.encode))
def test_no_content_at_all_is_an_exception(content):
    missing = UploadManifest(nothing)(version_of(content, {}))

    assert all(isinstance(name, str) for name in missing)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "files": json_values
            | st.dictionaries(
                st.text(),
                st.fixed_dictionaries({}, optional={"size": json_values, "crc32c": json_values}),
            )
        },
    )
)
def test_no_document_at_all_is_an_exception(document):
    missing = UploadManifest(nothing)(version_of(json.dumps(document).encode(), {}))

    assert all(isinstance(name, str) for name in missing)


def test_a_manifest_that_is_too_large_is_not_even_opened():
    def refuse(name):
        raise AssertionError(name)

    path = StoragePath("/m/1", {MANIFEST: FileInfo(2**40)}, "gs://b/m/1", refuse)

    (missing,) = UploadManifest(nothing)(path)

    assert missing.startswith(f"{MANIFEST} (not readable: it is larger than ")


def test_a_storage_that_does_not_answer_is_told_as_it_is():
    def fail(name):
        raise UnavailableError(f"gs://b/m/1/{name}: no answer")

    path = StoragePath("/m/1", {MANIFEST: FileInfo(9)}, "gs://b/m/1", fail)

    with pytest.raises(UnavailableError, match="no answer"):
        UploadManifest(nothing)(path)


def test_two_with_the_same_platform_are_equal_so_that_an_unchanged_model_is_left_alone():
    assert UploadManifest(weights) == UploadManifest(weights)
    assert UploadManifest(weights) != UploadManifest(nothing)


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
stated = st.builds(StatedFile, st.integers(0, 2**63 - 1), st.none() | st.integers(0, 2**32 - 1))


@given(st.dictionaries(names, stated, max_size=5))
def test_what_is_written_is_read_again(files):
    assert parse_manifest(render_manifest(files)) == files


def test_keys_that_are_not_known_are_ignored():
    content = json.dumps(
        {"files": {"graph": {"size": 3, "md5": "x"}}, "writer": {"name": "somebody"}}
    )

    assert parse_manifest(content.encode()) == {"graph": StatedFile(3)}


@pytest.mark.parametrize("name", ["a" * 2000, "\udcff"], ids=["long", "no-utf-8"])
def test_what_could_not_be_read_again_is_not_written(name):
    with pytest.raises(InvalidArgumentError):
        render_manifest({name: StatedFile(1)})


def test_a_server_heeds_the_manifest_of_every_model(tmp_path):
    version = tmp_path / "words" / "1"
    version.mkdir(parents=True)
    (version / "words.csv").write_text("a,1\n")
    (version / MANIFEST).write_bytes(stating(**{"labels.txt": {"size": 2}}))
    served = ServedModels(ServerConfig(poll_wait_seconds=0.05))
    served.start()
    served.apply(ModelList((ModelConfig("words", str(tmp_path / "words"), "lookup"),)))
    monitor, id = served.manager.monitor, ServableId("words", 1)

    eventually(lambda: monitor.get_state(id) is not None)
    held_back = monitor.get_state(id)
    (version / "labels.txt").write_text("ab")
    eventually(lambda: monitor.get_state(id).is_available)

    assert held_back.message == "waiting for upload: labels.txt"
    assert served.stop()


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
