"""Ready: whether every model answers calls, and if not, why."""

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.reports import SourceReport
from modelserver_operator.testing.observations import (
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

OTHER = {"name": "other", "uri": "gs://bucket/other"}
DOWNLOADING = a_version(1, "Start", reason="Downloading", message="downloading")


def served_once(**spec) -> ModelServerStatus:
    """The status of a server that works."""
    return judge(an_observation(a_server(**spec)))


def waiting(reason: str, message: str = "", **fields):
    return a_pod(ready=False, waiting_reason=reason, waiting_message=message, **fields)


def test_a_server_whose_models_are_all_available_is_ready() -> None:
    found = judge(an_observation(a_server()))

    assert verdict(found, "Ready") == ("True", "Serving")
    assert condition(found, "Ready").message == "Serving mnist with 1 pod."


def test_one_of_three_pods_down_leaves_it_ready_and_says_two_of_three() -> None:
    pods = [a_pod("web-1"), a_pod("web-2"), a_pod("web-3", ready=False)]

    found = judge(an_observation(a_server(replicas=3), pods, [a_report(pod) for pod in pods[:2]]))

    assert verdict(found, "Ready") == ("True", "Serving")
    assert found.ready_summary == "2/3"
    assert "2 of 3 pods" in condition(found, "Ready").message
    assert verdict(found, "WorkloadAvailable") == ("False", "Progressing")


def test_a_failed_new_version_beside_a_good_old_one_leaves_it_ready() -> None:
    pod = a_pod()
    bad = a_version(2, "End", reason="LoadFailed", message="truncated saved_model.pb")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(a_version(1), bad))]))

    assert verdict(found, "Ready") == ("True", "Serving")
    assert verdict(found, "VersionsConverged") == ("False", "LoadFailed")
    assert "mnist version 2: truncated" in condition(found, "VersionsConverged").message
    assert verdict(found, "Reconciling") is None


def test_one_broken_model_of_several_is_named_though_the_others_serve() -> None:
    pod = a_pod()
    broken = a_model(a_version(1, "End", reason="LoadFailed", message="no such op"), name="other")

    found = judge(
        an_observation(
            a_server(models=[MNIST, OTHER]), [pod], [a_report(pod, a_model(a_version()), broken)]
        )
    )

    assert verdict(found, "Ready") == ("False", "ModelsNotAvailable")
    message = condition(found, "Ready").message
    assert "other (version 1: LoadFailed, no such op)" in message
    assert "mnist" not in message


def test_a_version_counts_only_in_a_pod_that_gets_calls() -> None:
    pods = [a_pod("web-1", ready=False), a_pod("web-2")]
    reports = [a_report(pods[0]), a_report(pods[1], a_model(a_version(1, "Loading")))]

    found = judge(an_observation(a_server(replicas=2), pods, reports))

    assert verdict(found, "Ready") == ("False", "NoVersionAvailable")


def test_pods_that_come_up_for_the_first_time_are_starting() -> None:
    pod = a_pod(ready=False)

    found = judge(an_observation(a_server(), [pod], []))

    assert verdict(found, "Ready") == ("Unknown", "Starting")
    assert verdict(found, "Reconciling") == ("True", "Progressing")


def test_a_pod_whose_only_version_is_being_downloaded_is_starting_and_not_broken() -> None:
    pod = a_pod(ready=False)

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(DOWNLOADING))]))

    assert verdict(found, "Ready") == ("Unknown", "Starting")
    message = "The pods are starting: downloading mnist version 1."
    assert condition(found, "Ready").message == message


def test_a_failed_version_beside_one_that_is_being_downloaded_is_no_broken_start() -> None:
    pod = a_pod(ready=False)
    failed = a_version(2, "End", reason="LoadFailed", message="bad op")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(failed, DOWNLOADING))]))

    assert verdict(found, "Ready") == ("Unknown", "Starting")


def test_pods_that_wait_for_a_model_whose_download_fails_are_not_just_starting() -> None:
    pod = a_pod(ready=False)
    failed = a_version(1, "Start", reason="LoadFailed", message="checksum differs")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(failed))]))

    assert verdict(found, "Ready") == ("False", "NoVersionAvailable")
    assert "mnist (version 1: LoadFailed, checksum differs)" in condition(found, "Ready").message


def test_pods_that_lost_their_versions_and_download_them_again_say_so() -> None:
    pod, server = a_pod(ready=False), a_server(status=served_once())

    found = judge(an_observation(server, [pod], [a_report(pod, a_model(DOWNLOADING))]))

    assert verdict(found, "Ready") == ("False", "WorkloadUnavailable")
    assert condition(found, "Ready").message == "No pod is ready: downloading mnist version 1."


def test_a_model_that_is_being_downloaded_beside_one_that_serves_is_named() -> None:
    pod = a_pod()
    coming = a_model(DOWNLOADING, name="other")

    found = judge(
        an_observation(
            a_server(models=[MNIST, OTHER]), [pod], [a_report(pod, a_model(a_version()), coming)]
        )
    )

    assert verdict(found, "Ready") == ("False", "ModelsNotAvailable")
    message = "Without an available version: other (version 1: Downloading)."
    assert condition(found, "Ready").message == message


def test_a_version_whose_files_were_overwritten_serves() -> None:
    pod = a_pod()
    mutated = a_version(1, reason="Mutated", message="saved_model.pb changed")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(mutated))]))

    assert verdict(found, "Ready") == ("True", "Serving")


def test_overwritten_files_are_not_why_a_model_does_not_serve() -> None:
    pods = [a_pod("web-1", ready=False), a_pod("web-2")]
    mutated = a_version(1, reason="Mutated", message="saved_model.pb changed")
    reports = [a_report(pods[0], a_model(mutated)), a_report(pods[1], a_model())]

    found = judge(an_observation(a_server(replicas=2), pods, reports))

    message = "No version is available: mnist (version 1: Available)."
    assert condition(found, "Ready").message == message


def test_a_server_that_served_and_lost_its_pods_is_not_starting() -> None:
    server = a_server(status=served_once())

    found = judge(an_observation(server, [a_pod(ready=False)], []))

    assert verdict(found, "Ready") == ("False", "WorkloadUnavailable")


def test_a_server_that_is_resumed_is_starting() -> None:
    suspended = judge(an_observation(a_server(suspend=True)))

    found = judge(an_observation(a_server(status=suspended), [a_pod(ready=False)], []))

    assert verdict(found, "Ready") == ("Unknown", "Starting")


def test_an_empty_folder_leaves_no_version_available() -> None:
    pod = a_pod()

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model())]))

    assert verdict(found, "Ready") == ("False", "NoVersionAvailable")
    assert "mnist (none found)" in condition(found, "Ready").message
    assert verdict(found, "VersionsConverged") == ("False", "NoVersionAvailable")


def test_pods_that_wait_for_a_model_that_cannot_load_are_not_just_starting() -> None:
    pod = a_pod(ready=False)
    failed = a_version(1, "End", reason="LoadFailed", message="bad")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(failed))]))

    assert verdict(found, "Ready") == ("False", "NoVersionAvailable")


def test_without_a_readable_source_nothing_serves() -> None:
    pod = a_pod()
    source = SourceReport(accessible=False, reason="Forbidden", message="403 for sa@example")

    found = judge(an_observation(a_server(), [pod], [a_report(pod, a_model(source=source))]))

    assert verdict(found, "Ready") == ("False", "SourceInaccessible")
    assert "403 for sa@example" in condition(found, "Ready").message


def test_a_source_that_goes_away_leaves_what_serves_ready() -> None:
    pod = a_pod()
    gone = SourceReport(accessible=False, reason="Unavailable", message="timed out")

    found = judge(
        an_observation(a_server(), [pod], [a_report(pod, a_model(a_version(), source=gone))])
    )

    assert verdict(found, "Ready") == ("True", "Serving")
    assert verdict(found, "SourceAccessible") == ("False", "Unavailable")


def test_pods_that_cannot_run_make_the_workload_the_reason() -> None:
    found = judge(an_observation(a_server(), [waiting("ImagePullBackOff")], []))

    assert verdict(found, "Ready") == ("False", "WorkloadUnavailable")
    assert "ImagePullFailed" in condition(found, "Ready").message


def test_ready_pods_that_were_never_heard_leave_it_unknown() -> None:
    pod = a_pod()

    found = judge(
        an_observation(a_server(), [pod], [], unreachable={pod.uid: "connection timed out"})
    )

    assert verdict(found, "Ready") == ("Unknown", "PodsUnreachable")
    assert "pod web-1" in condition(found, "Ready").message
    assert "connection timed out" in condition(found, "Ready").message


def test_ready_pods_that_were_not_asked_yet_are_starting() -> None:
    found = judge(an_observation(a_server(), [a_pod()], []))

    assert verdict(found, "Ready") == ("Unknown", "Starting")


def test_pods_that_stop_answering_leave_it_ready_as_kubernetes_says() -> None:
    server, pod = a_server(status=served_once()), a_pod()

    found = judge(an_observation(server, [pod], [], unreachable={pod.uid: "timed out"}))

    assert verdict(found, "Ready") == ("True", "Serving")
    assert found.models == server.status.models
