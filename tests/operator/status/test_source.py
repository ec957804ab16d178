"""SourceAccessible: whether the pods can read what the URIs name."""

from datetime import timedelta

import pytest

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.observed import ClaimSnapshot
from modelserver_operator.reports import SourceReport
from modelserver_operator.testing.observations import (
    MNIST,
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

OTHER = {"name": "other", "uri": "gs://bucket/other"}


def served_once(**spec) -> ModelServerStatus:
    """The status of a server that works."""
    return judge(an_observation(a_server(**spec)))


@pytest.mark.parametrize(
    "reason", ["NotFound", "Forbidden", "CredentialsMissing", "Unavailable", "Unsupported"]
)
def test_what_the_pods_cannot_read_is_the_reason(reason: str) -> None:
    pod = a_pod()
    source = SourceReport(accessible=False, reason=reason, message="says the pod")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(source=source))]))

    assert verdict(found, "SourceAccessible") == ("False", reason)
    message = "The URI of mnist cannot be read. mnist: says the pod"
    assert condition(found, "SourceAccessible").message == message


def test_without_credentials_nothing_serves_and_the_pods_words_say_what_to_give() -> None:
    pod = a_pod()
    ways = "set serviceAccountName, credentialsSecretRef or MODELSERVER_GCS_ANONYMOUS=true"
    source = SourceReport(accessible=False, reason="CredentialsMissing", message=ways)

    found = judge(
        an_observation(
            a_server(models=[OTHER]), [pod], [a_report(pod, a_model(name="other", source=source))]
        )
    )

    assert verdict(found, "SourceAccessible") == ("False", "CredentialsMissing")
    assert verdict(found, "Ready") == ("False", "SourceInaccessible")
    assert condition(found, "Ready").message == (
        f"CredentialsMissing: The URI of other cannot be read. other: {ways}"
    )


def test_an_unknown_trouble_with_a_source_counts_as_unavailable() -> None:
    pod = a_pod()
    source = SourceReport(accessible=False, reason="FromTheFuture")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(source=source))]))

    assert verdict(found, "SourceAccessible") == ("False", "Unavailable")
    assert "FromTheFuture" in condition(found, "SourceAccessible").message


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        pytest.param(None, ("False", "ClaimNotFound"), id="no such claim"),
        pytest.param(ClaimSnapshot(phase="Lost"), ("False", "ClaimLost"), id="volume lost"),
        pytest.param(ClaimSnapshot(phase="Pending"), ("Unknown", "ClaimNotBound"), id="pending"),
        pytest.param(ClaimSnapshot(phase="Bound"), ("Unknown", "NotReported"), id="bound"),
    ],
)
def test_the_claim_decides_before_pods_do(
    claim: ClaimSnapshot | None, expected: tuple[str, str]
) -> None:
    pod = a_pod(ready=False)

    found = judge(an_observation(a_server(), [pod], [], claims={"models": claim}))

    assert verdict(found, "SourceAccessible") == expected


def test_a_claim_that_is_there_now_is_not_missing_any_more_though_no_pod_has_reported() -> None:
    pod, there = a_pod(ready=False), ClaimSnapshot(phase="Bound")
    missing = judge(an_observation(a_server(), [pod], [], claims={"models": None}))

    found = judge(an_observation(a_server(status=missing), [pod], [], claims={"models": there}))

    assert verdict(missing, "SourceAccessible") == ("False", "ClaimNotFound")
    assert verdict(found, "SourceAccessible") == ("Unknown", "NotReported")


def test_a_claim_that_could_not_be_looked_at_is_not_missing() -> None:
    found = judge(an_observation(a_server(), claims={}))

    assert verdict(found, "SourceAccessible") == ("True", "Accessible")


def test_a_model_that_no_pod_has_looked_at_is_named() -> None:
    pod = a_pod()

    found = judge(
        an_observation(
            a_server(models=[MNIST, OTHER]),
            [pod],
            [a_report(pod, a_model(a_version()), a_model(name="other", source=SourceReport()))],
        )
    )

    assert verdict(found, "SourceAccessible") == ("Unknown", "NotReported")
    assert "other" in condition(found, "SourceAccessible").message


def test_a_pod_without_the_claim_of_a_new_model_says_nothing_about_it() -> None:
    pod = a_pod(claims=("elsewhere",))
    source = SourceReport(accessible=False, reason="NotFound")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(source=source))]))

    assert verdict(found, "SourceAccessible") == ("Unknown", "NotReported")


def test_pods_on_an_older_config_do_not_speak_for_a_corrected_uri() -> None:
    pods = [a_pod("web-1"), a_pod("web-2")]
    source = SourceReport(accessible=False, reason="NotFound")
    reports = [a_report(pods[0], a_model(source=source), config_hash="old"), a_report(pods[1])]

    found = judge(an_observation(a_server(replicas=2), pods, reports))

    assert verdict(found, "SourceAccessible") == ("True", "Accessible")


def test_what_was_known_of_a_source_stays_while_no_pod_reports() -> None:
    server = a_server(status=served_once())

    found = judge(an_observation(server, [a_pod(ready=False)], []), now=LATER)

    assert condition(found, "SourceAccessible") == condition(server.status, "SourceAccessible")


def test_what_was_known_of_a_source_is_void_for_a_newer_spec() -> None:
    server = a_server(status=served_once(), generation=2)

    found = judge(an_observation(server, [a_pod(ready=False)], []))

    assert verdict(found, "SourceAccessible") == ("Unknown", "NotReported")
