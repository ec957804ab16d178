"""What a node does for tests: real pods, and ways to reach them."""

import json
import urllib.request

import pytest

from testcluster.errors import ClusterError
from testcluster.images import WEBAPP_IMAGE
from testcluster.waiting import wait_until

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
LABELS = {"app": "web"}


def web_container(**more):
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    image = {"image": WEBAPP_IMAGE.reference, "imagePullPolicy": "Never"}
    return {"name": "web", **image, "readinessProbe": probe, "securityContext": RESTRICTED, **more}


def web_pod(**more):
    return {"containers": [web_container()], "terminationGracePeriodSeconds": 0, **more}


def deployment(replicas, pod):
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": spec,
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
}


def apply(cluster, namespace, *objects):
    content = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(content))


def get(cluster, namespace, *what):
    return json.loads(cluster.kubectl("get", "-n", namespace, *what, "-o=json"))


def roll_out(cluster, namespace, *objects):
    cluster.load_image("webapp")
    apply(cluster, namespace, *objects)
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=120s")
    return get(cluster, namespace, "pods", "-l=app=web")["items"]


def ask(address, port):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}:{port}/", timeout=10) as answer:
        return answer.read().decode().strip()


def can_ask(address, port):
    try:
        ask(address, port)
    except OSError:
        return False
    return True


def test_pods_run_under_the_restricted_standard_and_answer_this_machine_by_their_address(
    node, namespace
):
    node.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")

    pods = roll_out(node, namespace, deployment(2, web_pod()))

    assert len(pods) == 2
    for pod in pods:
        assert ask(pod["status"]["podIP"], 8080) == pod["metadata"]["name"]


def test_the_restricted_standard_refuses_a_pod_that_asks_for_more(node, namespace):
    node.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": web_pod(hostNetwork=True),
    }

    with pytest.raises(ClusterError, match="violates PodSecurity"):
        apply(node, namespace, pod)


def test_a_service_answers_this_machine_and_pods_by_its_name(node, namespace):
    names = {
        pod["metadata"]["name"]
        for pod in roll_out(node, namespace, deployment(2, web_pod()), SERVICE)
    }
    address = get(node, namespace, "service", "web")["spec"]["clusterIP"]

    wait_until(lambda: can_ask(address, 80), "the Service")
    url = f"http://web.{namespace}.svc.cluster.local/"
    answer = node.kubectl("exec", "-n", namespace, "deployment/web", "--", "/webapp", "get", url)

    assert ask(address, 80) in names
    assert answer.strip() in names


def test_pods_reach_the_api_server(node, namespace):
    pod = web_pod()
    roll_out(node, namespace, deployment(1, pod))

    url = "https://kubernetes.default.svc/"

    with pytest.raises(ClusterError, match="certificate signed by unknown authority"):
        node.kubectl("exec", "-n", namespace, "deployment/web", "--", "/webapp", "get", url)


def test_a_claim_is_bound_to_a_local_volume_of_this_machine(node, namespace, tmp_path):
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"models-{namespace}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": namespace,
            "hostPath": {"path": str(tmp_path), "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    mounted = web_container(
        volumeMounts=[{"name": "models", "mountPath": "/models", "readOnly": True}]
    )
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]

    roll_out(
        node, namespace, volume, claim, deployment(1, {"containers": [mounted], "volumes": volumes})
    )

    assert get(node, namespace, "pvc", "models")["status"]["phase"] == "Bound"
    node.kubectl("delete", "pv", f"models-{namespace}", "--wait=false")


def test_an_image_that_is_not_there_fails_at_once_instead_of_hanging(node, namespace):
    unknown = web_container(image="registry.example/nothing:1", imagePullPolicy="IfNotPresent")
    apply(node, namespace, deployment(1, {"containers": [unknown]}))

    def reasons():
        pods = get(node, namespace, "pods", "-l=app=web")["items"]
        statuses = [status for pod in pods for status in pod["status"].get("containerStatuses", [])]
        return {status["state"].get("waiting", {}).get("reason") for status in statuses}

    wait_until(lambda: reasons() & {"ErrImagePull", "ImagePullBackOff"}, "the pull to fail", 60)


def test_loading_what_is_no_image_says_so(node):
    with pytest.raises(ClusterError, match="No image archive unicorn"):
        node.load_image("unicorn")


def test_pods_on_two_nodes_reach_each_other(two_nodes, namespace):
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": LABELS},
    }
    here, there = roll_out(
        two_nodes, namespace, deployment(2, web_pod(topologySpreadConstraints=[apart]))
    )

    url = f"http://{there['status']['podIP']}:8080/"
    answer = two_nodes.kubectl(
        "exec", "-n", namespace, here["metadata"]["name"], "--", "/webapp", "get", url
    )

    assert {here["spec"]["nodeName"], there["spec"]["nodeName"]} == {"node1", "node2"}
    assert answer.strip() == there["metadata"]["name"]
