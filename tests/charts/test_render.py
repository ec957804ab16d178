"""What the chart renders, over the values that change its shape."""

import json

import pytest
import yaml

from modelserver_operator.cli import parse

MATRIX = {
    "as it is": {},
    "in two namespaces": {"namespaces": ["chart-team-a", "chart-team-b"]},
    "two replicas": {"replicas": 2},
    "with all options": {
        "replicas": 2,
        "imagePullSecrets": ["registry"],
        "serverImage": {"pullPolicy": "Always", "pullSecrets": ["registry"], "tag": "9.9.9"},
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "operator@project"}},
        "log": {"format": "text", "level": "debug"},
        "extraArgs": ["--workers=4"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "podAnnotations": {"team": "ml"},
        "podLabels": {"team": "ml"},
        "commonLabels": {"owner": "ml"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "release"}},
            }
        ],
        "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
        "metrics": {"dashboard": {"enabled": True, "annotations": {"folder": "ml"}}},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-one"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-two\n",
        ],
    },
    "by digest, without rights to make": {
        "image": {"digest": f"sha256:{'0' * 64}"},
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False, "name": "default"},
        "podPatch": {"enabled": False},
        "crds": {"enabled": False},
    },
}
MONITORING = {
    "metrics": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    }
}

every_shape = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())


def of_kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def operator_container(objects):
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def rules(objects):
    return [rule for role in of_kind(objects, "Role", "ClusterRole") for rule in role["rules"]]


@pytest.fixture(scope="module")
def teams(control_plane):
    for name in ("chart-team-a", "chart-team-b"):
        control_plane.kubectl("create", "namespace", name)
    yield
    control_plane.kubectl("delete", "namespace", "chart-team-a", "chart-team-b", "--wait=false")


@every_shape
def test_the_linter_has_no_objection(control_plane, chart, values):
    control_plane.helm(
        *("lint", "--strict", str(chart), "--kube-version", "1.30.0", "--values", "-"),
        input=json.dumps(values),
    )


@pytest.mark.usefixtures("teams")
@every_shape
def test_the_api_server_accepts_every_object(control_plane, namespace, render, values):
    objects = [found for found in render(values, namespace) if found["kind"] != "Pod"]

    control_plane.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
        *("-f", "-"),
        input=yaml.safe_dump_all(objects),
    )


@every_shape
def test_no_role_of_the_operator_reads_secrets_or_names_a_wildcard(render, values):
    for rule in rules(render(values)):
        said = [word for words in rule.values() for word in words]
        assert "*" not in "".join(said)
        assert not {"secrets", "pods/exec", "pods/attach", "pods/portforward", "nodes"} & set(said)
        assert not {"escalate", "bind", "impersonate"} & set(said)


def test_in_listed_namespaces_nothing_is_granted_in_the_whole_cluster(render):
    objects = render({"namespaces": ["chart-team-a", "chart-team-b"], "rbac": {"aggregate": False}})

    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    assert [role["metadata"]["namespace"] for role in of_kind(objects, "Role")] == [
        "chart-team-a",
        "chart-team-b",
        "operators",
    ]


def test_pods_can_be_patched_only_together_with_the_policy_that_limits_it(render):
    with_policy, without = render(), render({"podPatch": {"enabled": False}})

    assert (
        len(of_kind(with_policy, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"))
        == 2
    )
    assert "patch" in verbs_on_pods(with_policy)
    assert not of_kind(without, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert "patch" not in verbs_on_pods(without)


def verbs_on_pods(objects):
    return {
        verb for rule in rules(objects) if rule["resources"] == ["pods"] for verb in rule["verbs"]
    }


@pytest.mark.usefixtures("teams")
@every_shape
def test_its_pods_satisfy_the_restricted_profile_and_write_only_to_tmp(
    control_plane, namespace, render, values
):
    control_plane.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    objects = render({**values, "priorityClassName": ""}, namespace)
    pods = [*of_kind(objects, "Pod"), pod_of(of_kind(objects, "Deployment")[0])]

    assert len(pods) == 2
    for pod in pods:
        pod["spec"]["serviceAccountName"] = "default"
        control_plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
        assert [
            c["securityContext"]["readOnlyRootFilesystem"] for c in pod["spec"]["containers"]
        ] == [True]


def pod_of(deployment):
    template = deployment["spec"]["template"]
    metadata = {
        **template["metadata"],
        "name": deployment["metadata"]["name"],
        "namespace": deployment["metadata"]["namespace"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@every_shape
def test_the_operator_understands_the_flags_it_is_given(render, values):
    arguments = operator_container(render(values))["args"]

    settings = parse(
        arguments, {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_NAMESPACE": "operators"}
    )

    assert settings.leader_elect
    assert (settings.lease_namespace, settings.health_port) == ("operators", 8080)
    assert settings.namespaces == tuple(values.get("namespaces", ()))
    assert settings.log_format == values.get("log", {"format": "json"})["format"]


def test_a_digest_wins_over_a_tag(render):
    digest = f"sha256:{'1' * 64}"
    values = {"image": {"repository": "a/b", "tag": "1", "digest": digest}}

    assert operator_container(render(values))["image"] == f"a/b@{digest}"


def test_servers_get_the_image_that_the_values_name(render):
    values = {"serverImage": {"repository": "a/server", "tag": "2", "pullSecrets": ["one", "two"]}}

    arguments = operator_container(render(values))["args"]

    assert "--server-image=a/server:2" in arguments
    assert "--server-image-pull-secrets=one,two" in arguments


def test_a_disruption_budget_comes_with_the_second_replica(render):
    assert not of_kind(render({"replicas": 1}), "PodDisruptionBudget")
    assert of_kind(render({"replicas": 2}), "PodDisruptionBudget")


def test_the_crd_is_kept_unless_the_values_say_otherwise(render):
    def crd(**values):
        return of_kind(render({"crds": values}), "CustomResourceDefinition")

    assert crd()[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in crd(keep=False)[0]["metadata"]
    assert crd(enabled=False) == []


def test_monitoring_objects_select_the_operators_pods_and_its_port(render):
    objects = render(MONITORING)
    (monitor,) = of_kind(objects, "PodMonitor")
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = [port["name"] for port in operator_container(objects)["ports"]]

    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_keep_prometheus_placeholders(render):
    (rule,) = of_kind(render(MONITORING), "PrometheusRule")
    alerts = {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}

    assert (
        "{{ $labels.modelserver }}"
        in alerts["ModelVersionDoesNotLoad"]["annotations"]["description"]
    )
    assert 'namespace="operators"' in alerts["ModelServerOperatorHasNoLeader"]["expr"]


def test_the_dashboard_is_json_that_grafana_finds(render):
    (found,) = of_kind(render({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap")

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["modelserver.json"])["panels"]
