"""Which faults meet which requests, and what they make of listings and bodies."""

import base64
import json
import threading

import pytest

from testcluster.faults import (
    BlackHole,
    Corrupt,
    Hidden,
    Injection,
    Reordered,
    ReplaceObject,
    Reset,
    Script,
    Slow,
    Stall,
    Status,
    Truncate,
    WrongChecksum,
    changes,
    comes_before,
    matcher,
    touches,
)
from testcluster.gcs_body import Pace, corrupt, interruptions
from testcluster.gcs_requests import GcsRequest

READ = GcsRequest("read", "bkt", "models/m/1/a")
LIST = GcsRequest("list", "bkt", "models/m/")
CRC = base64.b64encode(b"\x00\x01\x02\x03").decode()
LISTING = {
    "kind": "storage#objects",
    "items": [{"name": "m/a", "crc32c": CRC}, {"name": "m/b", "crc32c": CRC}],
    "prefixes": ["m/1/", "m/2/"],
}


def injection(fault, times=None, kind=None, under="", when=lambda request: True):
    return Injection(fault, matcher(kind, under, when), times)


def script_of(*injections):
    script = Script()
    for each in injections:
        script.add(each)
    return script


def taken(script, request=READ, fits=lambda fault: True):
    return [injection.fault for injection in script.take(request, fits)]


def test_a_fault_meets_the_next_requests_that_match_so_many_times():
    script = script_of(injection(Status(503), times=2, kind="read", under="models/m/"))

    assert taken(script, LIST) == []
    assert taken(script, GcsRequest("read", "bkt", "models/other/1/a")) == []
    assert [taken(script) for _ in range(3)] == [[Status(503)], [Status(503)], []]


def test_without_times_it_meets_all_until_it_is_healed():
    lasting = injection(Status(503))
    script = script_of(lasting)

    assert [taken(script), taken(script)] == [[Status(503)], [Status(503)]]
    lasting.heal()
    assert taken(script) == []
    assert lasting.met == 2


def test_healing_all_lets_go_of_those_that_are_held_back():
    held = injection(BlackHole(), times=1)
    script = script_of(held)
    script.take(READ, comes_before)
    script.heal()

    assert held.healed.is_set()


def test_a_predicate_may_choose_by_all_that_was_asked():
    script = script_of(injection(Slow(1), when=lambda request: request.byte_range == (8, 9)))

    assert taken(script) == []
    assert taken(script, GcsRequest("read", "bkt", "a", (8, 9))) == [Slow(1)]


def test_several_faults_instead_of_an_answer_come_one_after_the_other():
    script = script_of(
        injection(Slow(1), times=1),
        injection(Status(429), times=1),
        injection(BlackHole(), times=1),
    )

    assert [taken(script) for _ in range(3)] == [[Status(429)], [BlackHole()], [Slow(1)]]


def test_several_ends_of_a_body_come_one_after_the_other():
    script = script_of(injection(Truncate(1), times=1), injection(Reset(0), times=1))

    assert [taken(script), taken(script)] == [[Truncate(1)], [Reset(0)]]


def test_faults_of_different_effect_meet_a_request_together():
    script = script_of(injection(Corrupt(0)), injection(Corrupt(1)), injection(Slow(1)))

    assert taken(script) == [Corrupt(0), Corrupt(1), Slow(1)]


def test_what_concerns_an_objects_content_meets_reads_only():
    script = script_of(injection(Corrupt(0)), injection(ReplaceObject(b"")))

    assert taken(script, LIST) == []


def test_a_fault_without_effect_on_an_answer_waits_for_another_one():
    script = script_of(injection(Truncate(10), times=1))

    assert taken(script, fits=touches(0, 10)) == []
    assert taken(script, fits=touches(0, 11)) == [Truncate(10)]


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        (Status(500), False),
        (Slow(1), True),
        (Stall(9), True),
        (Stall(10), False),
        (Reset(10), False),
        (Corrupt(99), False),
        (Corrupt(100), True),
        (Corrupt(109), True),
        (Corrupt(110), False),
        (ReplaceObject(b""), False),
        (ReplaceObject(b"", after=10), True),
        (ReplaceObject(b"", after=11), False),
        (Reordered(), False),
    ],
)
def test_a_body_is_touched_by_what_happens_within_it(fault, fits):
    assert touches(100, 10)(fault) == fits


@pytest.mark.parametrize(
    ("fault", "comes"),
    [
        (Status(500), True),
        (BlackHole(), True),
        (ReplaceObject(b""), True),
        (ReplaceObject(b"", after=0), False),
        (Slow(1), False),
    ],
)
def test_before_the_emulator_hears_of_it_comes_what_is_instead_or_changes_it(fault, comes):
    assert comes_before(fault) == comes


def test_a_listing_may_have_a_wrong_checksum_for_an_object():
    wrong = WrongChecksum("m/b").rewritten(LISTING)

    assert wrong["items"][0] == LISTING["items"][0]
    assert wrong["items"][1]["crc32c"] != CRC
    assert len(base64.b64decode(wrong["items"][1]["crc32c"])) == 4


def test_a_listing_may_be_in_another_order():
    turned = Reordered().rewritten(LISTING)

    assert [item["name"] for item in turned["items"]] == ["m/b", "m/a"]
    assert turned["prefixes"] == ["m/2/", "m/1/"]


def test_a_listing_may_lose_a_version_and_all_that_is_below_it():
    below = {"items": [{"name": "m/1/a"}, {"name": "m/10/a"}], "nextPageToken": "t"}

    assert Hidden("m/1/").rewritten(LISTING) == {**LISTING, "prefixes": ["m/2/"]}
    assert Hidden("m/1/").rewritten(below) == {**below, "items": [{"name": "m/10/a"}]}


def test_a_listing_may_lose_an_object():
    assert Hidden("m/a").rewritten(LISTING) == {**LISTING, "items": LISTING["items"][1:]}
    assert "items" not in Hidden("m/a").rewritten({"items": [{"name": "m/a"}]})


@pytest.mark.parametrize(
    ("fault", "does"),
    [
        (WrongChecksum("m/a"), True),
        (WrongChecksum("m/c"), False),
        (Hidden("m/3/"), False),
        (Reordered(), True),
        (Slow(1), False),
    ],
)
def test_a_listing_is_changed_by_what_concerns_it(fault, does):
    assert changes(LISTING)(fault) == does


@pytest.mark.parametrize("fault", [WrongChecksum("m/a"), Hidden("m/a"), Reordered()])
def test_an_empty_listing_stays_as_it_is(fault):
    assert not changes({"kind": "storage#objects"})(fault)


def test_an_error_has_the_shape_and_words_of_cloud_storage():
    error = json.loads(Status(403).body())["error"]

    assert error["code"] == 403
    assert "does not have storage.objects.list access" in error["message"]
    assert error["errors"] == [
        {"domain": "global", "reason": "forbidden", "message": error["message"]}
    ]


def test_an_error_may_have_other_words():
    assert json.loads(Status(418, "teapot").body())["error"]["message"] == "teapot"


def test_a_body_is_interrupted_in_the_order_of_its_bytes():
    end, replaced = injection(Reset(5)), injection(ReplaceObject(b"", after=5))
    stall = injection(Stall(3))

    stops = interruptions([end, replaced, injection(Corrupt(0)), stall], 10)

    assert stops == [(3, stall), (5, replaced), (5, end), (10, None)]


def test_only_the_named_bytes_are_corrupted():
    piece = memoryview(bytearray(b"abcd"))

    corrupt(piece, 100, [injection(Corrupt(offset)) for offset in (99, 101, 104)])

    assert [index for index in range(4) if piece[index] != b"abcd"[index]] == [1]


class Waits(threading.Event):
    """Notes how long it would have waited."""

    def __init__(self):
        super().__init__()
        self.seconds = 0.0

    def wait(self, timeout=None):
        self.seconds += timeout
        return self.is_set()


def test_a_slow_body_takes_its_time_in_small_pieces():
    waits = Waits()
    pace = Pace([Injection(Slow(1000), lambda request: True, None, waits)])

    for _ in range(0, 3000, pace.piece):
        pace.wait(pace.piece)

    assert pace.piece == 50
    assert waits.seconds == pytest.approx(3.0)


def test_a_healed_body_and_one_without_fault_do_not_wait():
    slow = injection(Slow(0.001))
    slow.heal()

    for pace in (Pace([slow]), Pace([])):
        pace.wait(1 << 30)
        assert pace.piece == 1 << 18
