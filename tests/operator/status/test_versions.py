"""VersionsConverged: whether all pods have what the spec asks for."""

import pytest

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.desired import Desired, Refusal
from modelserver_operator.reports import ConfigError, LabelReport
from modelserver_operator.testing.observations import (
    CONFIG_HASH,
    MNIST,
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


def served_once(**spec) -> ModelServerStatus:
    """The status of a server that works."""
    return judge(an_observation(a_server(**spec)))


def look_at_versions(*versions, reported_labels=(), **spec) -> ModelServerStatus:
    pod = a_pod()
    model = a_model(*versions, labels=reported_labels)
    server = a_server(models=[MNIST | spec])
    return judge(an_observation(server, [pod], [a_report(pod, model)]))


@pytest.mark.parametrize(
    ("versions", "reason", "words"),
    [
        pytest.param([a_version(2, "Loading")], "Loading", "mnist version 2", id="loads"),
        pytest.param([a_version(2, "Start")], "Loading", "mnist version 2", id="is to load"),
        pytest.param(
            [a_version(2, "Start", reason="Downloading", message="downloading")],
            "Downloading",
            "Downloading mnist version 2.",
            id="is being downloaded",
        ),
        pytest.param([a_version(2, "Unloading")], "Progressing", "Unloading", id="unloads"),
        pytest.param(
            [a_version(2, "Start", reason="Incomplete", message="variables.index is missing")],
            "Incomplete",
            "Waiting for upload: mnist version 2: variables.index is missing.",
            id="is being copied",
        ),
        pytest.param(
            [a_version(2, "End", reason="LoadFailed", message="bad op.")],
            "LoadFailed",
            "Failed to load: mnist version 2: bad op.",
            id="fails",
        ),
        pytest.param(
            [a_version(2, "Start", reason="LoadFailed", message="no room for 5 GB.")],
            "LoadFailed",
            "Failed to load: mnist version 2: no room for 5 GB.",
            id="fails to download",
        ),
    ],
)
def test_a_version_on_its_way_is_the_reason(versions, reason: str, words: str) -> None:
    found = look_at_versions(a_version(1), *versions)

    assert verdict(found, "VersionsConverged") == ("False", reason)
    assert words in condition(found, "VersionsConverged").message
    assert verdict(found, "Ready") == ("True", "Serving")


DOWNLOADING = a_version(3, "Start", reason="Downloading", message="downloading")


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        pytest.param(a_version(2, "End", reason="LoadFailed"), "LoadFailed", id="a failure first"),
        pytest.param(a_version(2, "Loading"), "Loading", id="what is further on first"),
        pytest.param(a_version(2, "Unloading"), "Downloading", id="before what leaves"),
        pytest.param(
            a_version(2, "Start", reason="Incomplete"), "Downloading", id="before an upload"
        ),
    ],
)
def test_a_download_is_told_before_what_has_to_wait_anyway(beside, reason: str) -> None:
    found = look_at_versions(a_version(1), beside, DOWNLOADING)

    assert verdict(found, "VersionsConverged") == ("False", reason)


def test_all_versions_that_are_being_downloaded_are_named_in_their_models() -> None:
    found = look_at_versions(a_version(1), DOWNLOADING, a_version(2, "Start", reason="Downloading"))

    message = condition(found, "VersionsConverged").message
    assert message == "Downloading mnist version 3, mnist version 2."


def test_a_version_that_one_more_pod_downloads_has_not_converged() -> None:
    pods = [a_pod("web-1"), a_pod("web-2", ready=False)]
    coming = a_version(1, "Start", reason="Downloading", message="downloading")

    found = judge(
        an_observation(
            a_server(replicas=2), pods, [a_report(pods[0]), a_report(pods[1], a_model(coming))]
        )
    )

    assert verdict(found, "VersionsConverged") == ("False", "Downloading")
    assert verdict(found, "Reconciling") == ("True", "Progressing")


def test_a_download_is_under_way_to_whoever_reads_kstatus() -> None:
    found = look_at_versions(a_version(1), DOWNLOADING)

    assert verdict(found, "Reconciling") == ("True", "Downloading")


def test_a_version_whose_files_were_overwritten_has_converged() -> None:
    found = look_at_versions(a_version(1, reason="Mutated", message="saved_model.pb changed"))

    assert verdict(found, "VersionsConverged") == ("True", "Converged")


def test_a_label_that_waits_is_told() -> None:
    found = look_at_versions(
        a_version(1),
        reported_labels=(LabelReport("canary", 3, pending=True),),
        labels=[{"name": "canary", "version": 3}],
    )

    assert verdict(found, "VersionsConverged") == ("False", "LabelPending")
    assert "canary of mnist waits for version 3" in condition(found, "VersionsConverged").message


def test_a_label_that_has_moved_has_converged() -> None:
    found = look_at_versions(
        a_version(1),
        reported_labels=(LabelReport("stable", 1),),
        labels=[{"name": "stable", "version": 1}],
    )

    assert verdict(found, "VersionsConverged") == ("True", "Converged")


def test_a_version_that_is_asked_for_by_number_and_not_there_is_named() -> None:
    found = look_at_versions(a_version(1), versionPolicy={"specific": {"versions": [1, 7]}})

    assert verdict(found, "VersionsConverged") == ("False", "VersionNotFound")
    assert "mnist version 7" in condition(found, "VersionsConverged").message


def test_a_version_that_only_some_pods_have_has_not_converged() -> None:
    pods = [a_pod("web-1"), a_pod("web-2")]
    reports = [a_report(pods[0]), a_report(pods[1], a_model(a_version(0)))]

    found = judge(an_observation(a_server(replicas=2), pods, reports))

    assert verdict(found, "VersionsConverged") == ("False", "Progressing")
    assert "mnist version 1 is in 1 of 2 pods" in condition(found, "VersionsConverged").message


def test_a_model_that_the_spec_dropped_has_not_converged_while_pods_have_it() -> None:
    pod = a_pod()
    dropped = a_model(a_version(), name="former")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(a_version()), dropped)]))

    assert verdict(found, "VersionsConverged") == ("False", "Progressing")
    assert "former" in condition(found, "VersionsConverged").message


def test_pods_that_have_not_taken_up_the_config_are_named() -> None:
    pods = [a_pod("web-1"), a_pod("web-2")]
    reports = [a_report(pods[0]), a_report(pods[1], config_hash="old")]

    found = judge(an_observation(a_server(replicas=2), pods, reports))

    assert verdict(found, "VersionsConverged") == ("False", "ConfigPending")
    assert "pod web-2" in condition(found, "VersionsConverged").message
    assert verdict(found, "Reconciling") == ("True", "ConfigPending")


def test_pods_that_refuse_the_config_are_named_with_their_reason() -> None:
    pod = a_pod()
    refused = ConfigError(CONFIG_HASH, "unknown platform: torch")

    found = judge(
        an_observation(a_server(), [pod], [a_report(pod, config_hash="old", config_error=refused)])
    )

    assert verdict(found, "VersionsConverged") == ("False", "ConfigRefused")
    message = condition(found, "VersionsConverged").message
    assert "pod web-1" in message
    assert "unknown platform: torch" in message


def test_a_refusal_of_an_older_config_is_history() -> None:
    pod = a_pod()
    refused = ConfigError("older", "unknown platform")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, config_error=refused)]))

    assert verdict(found, "VersionsConverged") == ("True", "Converged")


def test_a_config_that_no_common_schema_can_say_stalls_and_leaves_what_serves_ready() -> None:
    refusal = Refusal("ConfigRefused", "no config schema is accepted by all pods")
    desired = Desired((), CONFIG_HASH, "t", refusals=(refusal,))

    found = judge(an_observation(a_server()), desired)

    assert verdict(found, "VersionsConverged") == ("False", "ConfigRefused")
    assert verdict(found, "Stalled") == ("True", "ConfigRefused")
    assert verdict(found, "Ready") == ("True", "Serving")


def test_one_pod_that_does_not_answer_keeps_convergence_unknown() -> None:
    pods = [a_pod("web-1"), a_pod("web-2")]
    server = a_server(replicas=2, status=served_once(replicas=2))

    found = judge(
        an_observation(server, pods, [a_report(pods[0])], unreachable={pods[1].uid: "timed out"})
    )

    assert verdict(found, "VersionsConverged") == ("Unknown", "PodsUnreachable")
    assert "pod web-2" in condition(found, "VersionsConverged").message
    assert verdict(found, "Ready") == ("True", "Serving")


def test_when_no_pod_answers_convergence_is_unknown() -> None:
    pod = a_pod()
    server = a_server(status=served_once())

    found = judge(an_observation(server, [pod], [], unreachable={pod.uid: "timed out"}))

    assert verdict(found, "VersionsConverged") == ("Unknown", "PodsUnreachable")
    assert verdict(found, "SourceAccessible") == ("True", "Accessible")


def test_before_the_first_report_convergence_is_unknown() -> None:
    found = judge(an_observation(a_server(), [a_pod(ready=False)], []))

    assert verdict(found, "VersionsConverged") == ("Unknown", "NotReported")
