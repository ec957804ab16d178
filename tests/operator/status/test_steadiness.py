"""Times of transitions, and what must not become a write by itself."""

from datetime import timedelta

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.observed import LastExit
from modelserver_operator.reports import SourceReport
from modelserver_operator.status import is_same
from modelserver_operator.testing.observations import (
    NOW,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
    an_observation,
    condition,
    judge,
    verdict,
)

LATER = NOW + timedelta(hours=1)


def served_once(**spec) -> ModelServerStatus:
    """The status of a server that works."""
    return judge(an_observation(a_server(**spec)))


def waiting(reason: str, message: str = "", **fields):
    return a_pod(ready=False, waiting_reason=reason, waiting_message=message, **fields)


ERROR = LastExit("Error", 1, "ValueError: bad flag")


def test_the_transition_time_moves_with_the_status_only() -> None:
    pod = a_pod()
    first = judge(an_observation(a_server(), [pod], [a_report(pod, a_model())]))
    failed = a_model(a_version(1, "End", reason="LoadFailed"))
    server = a_server(status=first)

    other_reason = judge(an_observation(server, [pod], [a_report(pod, failed)]), now=LATER)
    other_status = judge(an_observation(server), now=LATER)

    assert verdict(other_reason, "VersionsConverged") == ("False", "LoadFailed")
    assert condition(other_reason, "VersionsConverged").last_transition_time == NOW
    assert condition(other_status, "VersionsConverged").last_transition_time == LATER


def test_a_clock_that_was_set_back_moves_no_transition_back() -> None:
    server = a_server(status=served_once(), suspend=True)

    found = judge(an_observation(server), now=NOW - timedelta(days=1))

    assert condition(found, "Ready").last_transition_time == NOW


def test_words_of_others_that_differ_each_time_cause_no_write() -> None:
    def pulls(message: str, last: ModelServerStatus | None = None) -> ModelServerStatus:
        pod = waiting("ImagePullBackOff", message)
        return judge(an_observation(a_server(status=last), [pod], []), now=LATER)

    first = pulls("rpc error: manifest unknown")

    assert is_same(pulls('Back-off pulling image "x"', first), first)


def test_each_further_crash_of_a_pod_causes_no_write() -> None:
    def crashes(count: int, last: ModelServerStatus | None = None) -> ModelServerStatus:
        pod = waiting("CrashLoopBackOff", last_exit=ERROR, restart_count=count)
        return judge(an_observation(a_server(status=last), [pod], []), now=LATER)

    first = crashes(3)

    assert is_same(crashes(4, first), first)
    assert not is_same(crashes(10, first), first)


def test_long_messages_are_cut() -> None:
    pod = a_pod()
    source = SourceReport(accessible=False, reason="Unavailable", message="x" * 3000)

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(source=source))]))

    message = condition(found, "SourceAccessible").message
    assert len(message) == 1024
    assert message.endswith("…")
