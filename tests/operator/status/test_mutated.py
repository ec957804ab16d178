"""VersionMutated: whether pods serve what has been overwritten since."""

from datetime import timedelta

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.reports import VersionReport
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

MUTATED = a_version(1, reason="Mutated", message="saved_model.pb was overwritten")


def having(*versions: VersionReport, last: ModelServerStatus | None = None, **fields):
    """The status when each of these is what one more pod has."""
    pods = [a_pod(f"web-{number}") for number in range(len(versions))]
    reports = [a_report(pod, a_model(version)) for pod, version in zip(pods, versions, strict=True)]
    server = a_server(replicas=len(pods), status=last)
    return judge(an_observation(server, pods, reports), **fields)


def test_it_is_absent_while_every_pod_serves_what_is_there() -> None:
    assert verdict(having(a_version(1), a_version(1)), "VersionMutated") is None


def test_one_pod_is_enough_and_model_version_and_remedy_are_named() -> None:
    found = having(a_version(1), MUTATED)

    assert verdict(found, "VersionMutated") == ("True", "FilesChanged")
    message = condition(found, "VersionMutated").message
    assert "mnist version 1" in message
    assert "a new number" in message
    assert "kubectl rollout restart deployment/web" in message


def test_whatever_serves_stays_ready_converged_and_at_rest() -> None:
    found = having(MUTATED, MUTATED)

    assert verdict(found, "Ready") == ("True", "Serving")
    assert verdict(found, "VersionsConverged") == ("True", "Converged")
    assert verdict(found, "Reconciling") is None
    assert found.serving_versions == "mnist:1"


def test_several_versions_of_several_models_are_one_condition() -> None:
    pod = a_pod()
    models = [MNIST, MNIST | {"name": "other"}]
    newer = a_version(2, reason="Mutated")
    report = a_report(pod, a_model(MUTATED, newer), a_model(MUTATED, name="other"))

    found = judge(an_observation(a_server(models=models), [pod], [report]))

    named = "mnist version 2, mnist version 1, other version 1"
    assert named in condition(found, "VersionMutated").message


def test_a_pod_that_fails_on_what_is_there_now_does_not_hide_that_others_serve_what_was() -> None:
    found = having(MUTATED, a_version(1, "End", reason="LoadFailed", message="bad op"))

    assert verdict(found, "VersionsConverged") == ("False", "LoadFailed")
    assert verdict(found, "VersionMutated") == ("True", "FilesChanged")


def test_it_counts_only_where_the_version_is_available() -> None:
    found = having(a_version(1, "Unloading", reason="Mutated"), a_version(1))

    assert verdict(found, "VersionMutated") is None


def test_it_is_over_once_the_pods_were_replaced() -> None:
    begun = having(MUTATED)
    server, successor = a_server(status=begun), a_pod("web-9", ready=False)

    starting = judge(an_observation(server, [successor], []))
    done = having(a_version(1), last=begun)

    assert verdict(starting, "VersionMutated") is None
    assert verdict(done, "VersionMutated") is None


def test_it_stays_since_when_it_began_while_a_pod_does_not_answer() -> None:
    begun = having(a_version(1), MUTATED)
    pods = [a_pod("web-0"), a_pod("web-1")]
    server = a_server(replicas=2, status=begun)
    later = NOW + timedelta(hours=1)

    partly = judge(
        an_observation(server, pods, [a_report(pods[0])], unreachable={pods[1].uid: "timed out"}),
        now=later,
    )
    restarted_operator = judge(an_observation(server, pods, []), now=later)

    was = condition(begun, "VersionMutated")
    assert condition(partly, "VersionMutated") == was
    assert condition(restarted_operator, "VersionMutated") == was


def test_pods_that_are_ending_do_not_count() -> None:
    pods = [a_pod("web-0", deleting=True), a_pod("web-1")]
    reports = [a_report(pods[0], a_model(MUTATED)), a_report(pods[1])]

    found = judge(an_observation(a_server(), pods, reports))

    assert verdict(found, "VersionMutated") is None
