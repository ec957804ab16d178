"""Each fault, as a client without any cleverness sees it."""

import http.client
import random

import pytest

from testcluster.faults import (
    BlackHole,
    Corrupt,
    Hidden,
    Reordered,
    ReplaceObject,
    Reset,
    Slow,
    Stall,
    Status,
    Truncate,
    WrongChecksum,
)
from testcluster.gcs_emulator import object_path
from testcluster.waiting import wait_until


@pytest.mark.parametrize("code", [401, 403, 404, 408, 429, 500, 503])
def test_an_error_comes_instead_of_the_answer_on_a_connection_that_lives_on(
    client, put, gcs_faults, code
):
    put("a", b"content")
    client.list()
    first = client.connection.sock
    gcs_faults.inject(Status(code), kind="read", times=2)

    got = [client.read("a"), client.list(), client.read("a"), client.read("a")]

    assert [each.status for each in got] == [code, 200, code, 200]
    assert got[0].json["error"]["code"] == code
    assert client.connection.sock is first


def test_an_upload_that_is_refused_is_read_first_and_leaves_no_object(client, gcs_faults):
    gcs_faults.inject(Status(503), kind="upload", times=1)
    target = f"/upload/storage/v1/b/{client.bucket}/o?uploadType=media&name=a"

    assert client.ask("POST", target, bytes(3_000_000)).status == 503
    assert client.metadata("a").status == 404


def test_a_black_hole_answers_when_it_is_healed(client, put, gcs_faults):
    put("a", b"content")
    hole = gcs_faults.inject(BlackHole(), kind="read", under="a")
    client.begin("GET", client.read_target("a"))
    wait_until(lambda: hole.met == 1, "the request")
    [waiting] = gcs_faults.requests()

    gcs_faults.heal()

    assert waiting.status is None
    assert client.end().body == b"content"


def test_a_black_hole_hears_nothing_of_a_deletion_whose_client_left(client, put, gcs_faults):
    put("a", b"content")
    hole = gcs_faults.inject(BlackHole(), kind="delete")
    client.begin("DELETE", object_path(client.bucket, "a"))
    wait_until(lambda: hole.met == 1, "the request")
    client.connection.close()
    wait_until(lambda: not gcs_faults.connections(), "the proxy to notice")

    gcs_faults.heal()

    assert client.read("a").status == 200


def test_a_slow_body_trickles_and_its_rest_comes_at_once_when_healed(client, put, gcs_faults):
    content = random.Random(6).randbytes(10_000)
    put("a", content)
    gcs_faults.inject(Slow(bytes_per_second=20))
    client.begin("GET", client.read_target("a"))
    answer = client.connection.getresponse()
    assert answer.read(1) == content[:1]
    assert gcs_faults.requests()[0].sent < len(content)

    gcs_faults.heal()

    assert answer.read() == content[1:]


def test_a_stalled_body_goes_on_when_it_is_healed(client, put, gcs_faults):
    put("a", b"content")
    stall = gcs_faults.inject(Stall(after=4), times=1)
    client.begin("GET", client.read_target("a"))
    answer = client.connection.getresponse()
    assert answer.read(4) == b"cont"
    assert gcs_faults.requests()[0].sent == 4

    stall.heal()

    assert answer.read() == b"ent"


@pytest.mark.parametrize("after", [0, 4, 1_000_000])
def test_a_truncated_body_ends_in_an_orderly_way(client, put, gcs_faults, after):
    content = random.Random(2).randbytes(3_000_000)
    put("a", content)
    gcs_faults.inject(Truncate(after), times=1)

    with pytest.raises(http.client.IncompleteRead) as broken:
        client.read("a")

    assert broken.value.partial == content[:after]
    assert gcs_faults.requests()[0].sent == after
    client.connection.close()
    assert client.read("a").body == content


@pytest.mark.parametrize("after", [0, 4, 1_000_000])
def test_a_reset_body_arrives_up_to_there(client, put, gcs_faults, after):
    content = random.Random(3).randbytes(3_000_000)
    put("a", content)
    gcs_faults.inject(Reset(after), times=1)
    client.begin("GET", client.read_target("a"))
    answer = client.connection.getresponse()

    assert answer.read(after) == content[:after]
    with pytest.raises(ConnectionResetError):
        answer.read(1)

    client.connection.close()
    assert client.read("a").body == content


def test_a_corrupted_byte_is_the_one_of_the_object_whatever_range_holds_it(client, put, gcs_faults):
    content = random.Random(4).randbytes(1_000_000)
    put("a", content)
    gcs_faults.inject(Corrupt(offset=600_000), times=2)

    untouched, ranged, whole = (
        client.read("a", "0-599999"),
        client.read("a", "600000-"),
        client.read("a"),
    )

    assert untouched.body == content[:600_000]
    assert [i for i in range(400_000) if ranged.body[i] != content[600_000 + i]] == [0]
    assert [i for i in range(1_000_000) if whole.body[i] != content[i]] == [600_000]
    assert client.read("a").body == content


def test_a_listing_lies_as_often_as_it_is_told_to(client, put, gcs_faults):
    put("m/a", b"1")
    put("m/b", b"2")
    put("m/1/x", b"3")
    true = client.list(prefix="m/", delimiter="/").json
    gcs_faults.inject(Hidden("m/1/"), times=1)
    gcs_faults.inject(WrongChecksum("m/a"), times=1)
    gcs_faults.inject(Reordered(), times=1)

    false = client.list(prefix="m/", delimiter="/").json

    assert "prefixes" not in false
    assert [item["name"] for item in false["items"]] == ["m/b", "m/a"]
    assert false["items"][1]["crc32c"] != true["items"][0]["crc32c"]
    assert client.list(prefix="m/", delimiter="/").json == true


def test_an_object_replaced_when_its_download_begins_is_found_to_be_another(
    client, put, gcs_faults
):
    old = put("a", b"old")
    gcs_faults.inject(ReplaceObject(b"newer"), times=1)

    assert client.read("a", generation=old).status == 404
    assert client.read("a").body == b"newer"


def test_an_object_replaced_during_its_download_is_whole_and_then_another(client, put, gcs_faults):
    content = random.Random(5).randbytes(3_000_000)
    old = put("a", content)
    gcs_faults.inject(ReplaceObject(b"newer", after=1_000_000), times=1)

    assert client.read("a", generation=old).body == content
    assert client.read("a", "1-", generation=old).status == 404
    assert client.read("a", ifGenerationMatch=old).status == 412
