"""The event recorder, against the fake cluster."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from modelserver_operator.api import Metadata
from modelserver_operator.cluster.resources import EVENT
from modelserver_operator.errors import UnavailableError
from modelserver_operator.event_budget import EventBudget
from modelserver_operator.event_recorder import EventLimits, EventRecorder, event_name
from modelserver_operator.events import EventNote, EventReason
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.fake_cluster import FakeCluster

ABOUT = Metadata(name="web", namespace="shop", uid="u1")
READY = EventNote("Normal", EventReason.READY, "Serving mnist with 1 pod.")
FAILED = EventNote("Warning", EventReason.VERSION_FAILED, "mnist version 2 failed to load: bad op")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Recording:
    """A recorder with its cluster and its clock."""

    def __init__(self, cluster: FakeCluster | None = None, **limits) -> None:
        self.clock = Clock()
        self.cluster = cluster or FakeCluster()
        self.recorder = self.another(**limits)

    def another(self, **limits) -> EventRecorder:
        return EventRecorder(
            self.cluster,
            "operator-1",
            limits=EventLimits(**limits),
            monotonic=self.clock.monotonic,
            now=self.clock.now,
        )

    def events(self) -> list[JsonObject]:
        names = self.cluster.names(EVENT)
        return [self.cluster.peek(EVENT, "shop", name) for name in names]


async def written(recorder: EventRecorder, *notes: EventNote, about: Metadata = ABOUT) -> None:
    """Record the notes, and wait until they are written or dropped."""
    recorder.record(about, notes)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recorder.run())
        await recorder.drain()
        running.cancel()


@pytest.mark.asyncio
async def test_an_event_says_what_happened_to_which_object_and_who_says_so() -> None:
    at = Recording()

    await written(at.recorder, FAILED)

    (event,) = at.events()
    assert event["involvedObject"] == {
        "apiVersion": "modelserver.dev/v1alpha1",
        "kind": "ModelServer",
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "VersionFailed",
        FAILED.message,
    )
    assert event["count"] == 1
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"
    assert event["source"] == {"component": "modelserver-operator"}
    assert event["reportingInstance"] == "operator-1"


@pytest.mark.asyncio
async def test_a_repetition_counts_on_the_same_object() -> None:
    at = Recording()

    await written(at.recorder, FAILED, READY)
    at.clock.seconds = 60
    await written(at.recorder, FAILED)

    failed = next(event for event in at.events() if event["reason"] == "VersionFailed")
    assert failed["count"] == 2
    assert failed["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert failed["lastTimestamp"] == "2026-01-01T00:01:00Z"
    assert len(at.events()) == 2


@pytest.mark.asyncio
async def test_a_restarted_operator_counts_on() -> None:
    at = Recording()
    await written(at.recorder, FAILED, FAILED)

    await written(at.another(), FAILED)

    (event,) = at.events()
    assert event["count"] == 3


@pytest.mark.asyncio
async def test_an_event_that_the_api_server_has_forgotten_starts_anew() -> None:
    at = Recording()
    await written(at.recorder, FAILED, FAILED)
    at.cluster.remove(EVENT, "shop", event_name(ABOUT, FAILED))

    await written(at.recorder, FAILED)

    (event,) = at.events()
    assert event["count"] == 1


@pytest.mark.asyncio
async def test_counts_that_were_let_go_are_looked_up() -> None:
    at = Recording(remembered=1)

    await written(at.recorder, FAILED, READY, FAILED)

    assert sorted(event["count"] for event in at.events()) == [1, 2]


@pytest.mark.asyncio
async def test_what_cannot_be_written_is_logged_and_dropped(caplog) -> None:
    at = Recording()
    at.cluster.refuse(UnavailableError("too many requests"), lambda call: call.kind == "Event")

    with caplog.at_level(logging.WARNING):
        await written(at.recorder, FAILED)
    at.cluster.relent()
    await written(at.recorder, READY)

    assert [event["reason"] for event in at.events()] == ["Ready"]
    assert "shop/web: an event could not be written" in caplog.text
    assert "too many requests" in caplog.text


@pytest.mark.asyncio
async def test_recording_writes_nothing_by_itself_and_drops_what_does_not_fit(caplog) -> None:
    at = Recording(queued=1)

    with caplog.at_level(logging.WARNING):
        at.recorder.record(ABOUT, [FAILED, READY])

    assert at.cluster.calls == []
    assert "too many events wait" in caplog.text
    await written(at.recorder)
    assert [event["reason"] for event in at.events()] == ["VersionFailed"]


@pytest.mark.asyncio
async def test_an_object_that_causes_too_many_events_is_cut_off_and_others_are_not(caplog) -> None:
    at = Recording(burst=2)
    other = Metadata(name="api", namespace="shop", uid="u2")
    notes = [EventNote("Normal", EventReason.READY, f"message {number}") for number in range(3)]

    with caplog.at_level(logging.WARNING):
        await written(at.recorder, *notes)
    await written(at.recorder, READY, about=other)

    assert sorted(event["message"] for event in at.events()) == sorted(
        ["message 0", "message 1", READY.message]
    )
    assert "shop/web: too many events" in caplog.text


def test_names_differ_by_object_and_by_what_is_said() -> None:
    reborn = Metadata(name="web", namespace="shop", uid="u9")

    names = {event_name(about, note) for about in (ABOUT, reborn) for note in (READY, FAILED)}

    assert len(names) == 4
    assert all(name.startswith("web.") for name in names)


def test_a_budget_refills_one_by_one_up_to_its_burst() -> None:
    clock = Clock()
    budget = EventBudget(burst=2, refill_seconds=60, monotonic=clock.monotonic)

    assert [budget.take("a") for _ in range(3)] == [True, True, False]
    clock.seconds = 60
    assert [budget.take("a") for _ in range(2)] == [True, False]
    clock.seconds = 6000
    assert [budget.take("a") for _ in range(3)] == [True, True, False]


def test_a_budget_is_for_each_key() -> None:
    budget = EventBudget(burst=1, refill_seconds=60, monotonic=lambda: 0.0)

    assert [budget.take(key) for key in ("a", "b", "a")] == [True, True, False]
