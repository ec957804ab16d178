"""Changes of a running ModelServer: hot ones restart nothing, cold ones lose nothing."""

import json
import threading
from collections import Counter

import grpc
import pytest

pytestmark = pytest.mark.timeout(600)
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def model(**fields):
    return {"name": "tables", "uri": "pvc://models/tables", "platform": "lookup"} | fields


def test_version_policies_and_labels_change_without_a_restart(workspace):
    for version in (1, 2, 3):
        workspace.add_version(version)
    served = workspace.serve()
    served.wait_until_serving("tables:3")
    before = served.pod_uids()

    served.update(models=[model(versionPolicy={"all": {}})])
    served.wait_until_serving("tables:3,2,1")
    labels = [{"name": "stable", "version": 1}]
    served.update(models=[model(versionPolicy={"specific": {"versions": [1, 2]}}, labels=labels)])
    served.wait_until_serving("tables:2,1")

    assert served.row(1)["labels"] == ["stable"]
    assert served.pod_uids() == before
    restarts = [
        s["restartCount"] for pod in served.pods() for s in pod["status"]["containerStatuses"]
    ]
    assert restarts == [0]


def test_polling_switched_off_finds_versions_on_request(workspace):
    workspace.add_version(1)
    served = workspace.serve()
    served.update(models=[model(pollSeconds=0)])
    served.wait_until_serving("tables:1")
    workspace.add_version(2)

    annotation = "modelserver.dev/poll-now=now"
    workspace.kubectl("annotate", f"msrv/{served.name}", annotation)

    served.wait_until_serving("tables:2", seconds=30)


def test_a_rolling_change_of_the_pods_under_load_fails_no_call(workspace):
    workspace.add_version(1)
    served = workspace.serve(replicas=2)
    served.wait_for_pods(2)
    before = served.pod_uids()

    with served.load(threads=8) as load:
        served.update(replicas=2, env=[{"name": "CHANGED", "value": "yes"}])
        workspace.kubectl("rollout", "status", f"deployment/{served.name}", "--timeout=180s")
        while before & served.pod_uids():
            load.wait_for_answers(50)
        load.wait_for_answers(200)

    assert load.failures == []


def test_three_replicas_share_the_calls_of_a_client_that_balances(workspace):
    workspace.add_version(1)
    served = workspace.serve(replicas=3)
    pods = served.wait_for_pods(3)
    addresses = [pod["status"]["podIP"] for pod in pods]
    endpoints = workspace.get(
        *("endpointslices", "-l", f"kubernetes.io/service-name={served.name}-headless")
    )
    in_service = [
        address
        for item in endpoints["items"]
        for endpoint in item["endpoints"]
        for address in endpoint["addresses"]
    ]

    target = "ipv4:" + ",".join(f"{address}:8500" for address in in_service)
    shares = share_of_calls(target, served, calls=600)

    assert sorted(in_service) == sorted(addresses)
    assert len(shares) == 3
    assert max(shares.values()) <= 1.3 * min(shares.values())


def share_of_calls(target, served, calls):
    """How many calls each pod answered, by its own count."""
    before = served.answered_by_pod()
    options = [("grpc.service_config", ROUND_ROBIN)]
    with grpc.insecure_channel(target, options) as channel:
        grpc.channel_ready_future(channel).result(30)
        stub = served.stub(channel)
        for _ in range(calls):
            stub()
    return Counter(served.answered_by_pod()) - Counter(before)


def test_autoscaling_switched_on_keeps_the_replicas(workspace):
    workspace.add_version(1)
    served = workspace.serve(replicas=3)
    served.wait_for_pods(3)
    seen = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            seen.append(workspace.get(f"deployment/{served.name}")["spec"]["replicas"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    served.update(autoscaling={"minReplicas": 2, "maxReplicas": 5})
    workspace.kubectl(
        *("wait", "--for=jsonpath={.spec.maxReplicas}=5", f"hpa/{served.name}", "--timeout=60s")
    )
    served.wait_for_pods(3)
    stop.set()
    watcher.join()

    assert set(seen) == {3}


def test_suspending_takes_the_pods_and_resuming_brings_them_back(workspace):
    workspace.add_version(1)
    served = workspace.serve()
    served.wait_for("Ready")

    served.update(suspend=True)
    served.wait_for("Ready", "False", "Suspended")
    served.wait_for_pods(0)
    service = workspace.get(f"service/{served.name}")["metadata"]["uid"]
    served.update(suspend=False)
    served.wait_for("Ready")

    assert workspace.get(f"service/{served.name}")["metadata"]["uid"] == service
    assert served.predict() == 1
