"""The pods' template."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.desired import Defaults
from modelserver_operator.desired.pod_template import pod_template
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.observations import MNIST, a_server
from modelserver_operator.testing.pod_security import restricted_violations

DEFAULTS = Defaults("server:1")


def template(**spec: Any) -> JsonObject:
    return pod_template(a_server(**spec), DEFAULTS)


def pod(**spec: Any) -> JsonObject:
    return dict(template(**spec)["spec"])


def container(**spec: Any) -> JsonObject:
    return dict(pod(**spec)["containers"][0])


def env(**spec: Any) -> dict[str, object]:
    return {var["name"]: var.get("value", var.get("valueFrom")) for var in container(**spec)["env"]}


def volumes(**spec: Any) -> list[JsonObject]:
    """The volumes without their names, which mean nothing."""
    return [
        {key: volume[key] for key in volume.keys() - {"name"}} for volume in pod(**spec)["volumes"]
    ]


# Volumes…


def test_each_claim_is_mounted_once_and_read_only() -> None:
    models = [MNIST, {"name": "b", "uri": "pvc://models/b"}, {"name": "c", "uri": "pvc://x.y/c"}]

    claims = [volume for volume in pod(models=models)["volumes"] if volume["name"].startswith("cl")]
    mounts = {
        mount["name"]: (mount["mountPath"], mount.get("readOnly"))
        for mount in container(models=models)["volumeMounts"]
    }

    assert [(volume["persistentVolumeClaim"], *mounts[volume["name"]]) for volume in claims] == [
        ({"claimName": "models", "readOnly": True}, "/mnt/modelserver/claims/models", True),
        ({"claimName": "x.y", "readOnly": True}, "/mnt/modelserver/claims/x.y", True),
    ]


def test_the_names_of_volumes_are_valid_however_long_their_claims_are() -> None:
    name = "a" + ".b" * 100

    names = [
        volume["name"] for volume in pod(models=[MNIST | {"uri": f"pvc://{name}/m"}])["volumes"]
    ]

    assert all(len(name) <= 63 and name.replace("-", "").isalnum() for name in names)


def test_every_volume_is_mounted_and_every_mount_has_its_volume() -> None:
    everything = pod(credentialsSecretRef={"name": "key"}, cache={"claimName": "cache"})

    names = [volume["name"] for volume in everything["volumes"]]
    mounts = [mount["name"] for mount in everything["containers"][0]["volumeMounts"]]

    assert names == mounts
    assert len(names) == len(set(names)) == 5


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        pytest.param(None, {"emptyDir": {}}, id="by default the node's disk"),
        pytest.param({"sizeLimit": "10Gi"}, {"emptyDir": {"sizeLimit": "10Gi"}}, id="limited"),
        pytest.param({"sizeLimit": 1024}, {"emptyDir": {"sizeLimit": "1024"}}, id="in bytes"),
        pytest.param(
            {"claimName": "shared"},
            {"persistentVolumeClaim": {"claimName": "shared"}},
            id="a claim",
        ),
    ],
)
def test_the_cache_can_be_written(cache: JsonObject | None, volume: JsonObject) -> None:
    assert volume in volumes(cache=cache)
    (mount,) = [m for m in container(cache=cache)["volumeMounts"] if m["name"] == "cache"]
    assert mount == {"name": "cache", "mountPath": "/var/cache/modelserver"}


@pytest.mark.parametrize(
    ("cache", "limit"),
    [
        pytest.param(None, None, id="by default none"),
        pytest.param({"sizeLimit": "10Gi"}, "10737418240", id="limited"),
        pytest.param({"sizeLimit": "1.5G"}, "1500000000", id="with a fraction"),
        pytest.param({"sizeLimit": 1024}, "1024", id="in bytes"),
        pytest.param({"sizeLimit": "plenty"}, None, id="no quantity, which the API server refuses"),
        pytest.param({"claimName": "shared"}, None, id="a claim"),
    ],
)
def test_the_server_is_told_where_its_cache_is_and_how_many_bytes_it_may_take(
    cache: JsonObject | None, limit: str | None
) -> None:
    told = env(cache=cache)

    assert told["MODELSERVER_CACHE_DIR"] == "/var/cache/modelserver"
    assert told.get("MODELSERVER_CACHE_SIZE_LIMIT") == limit


def test_the_cache_is_told_in_variables_since_an_older_server_would_refuse_flags() -> None:
    assert not [flag for flag in container(cache={"sizeLimit": "1Gi"})["args"] if "cache" in flag]


def test_a_limit_of_the_cache_that_is_given_as_a_variable_wins() -> None:
    mine = [{"name": "MODELSERVER_CACHE_SIZE_LIMIT", "value": "5"}]

    told = container(cache={"sizeLimit": "1Gi"}, env=mine)["env"]

    assert [each for each in told if each["name"] == "MODELSERVER_CACHE_SIZE_LIMIT"] == mine


def test_credentials_are_a_file_that_may_be_missing() -> None:
    reference = {"name": "key", "key": "reader.json"}

    assert {"secret": {"secretName": "key", "optional": True}} in volumes(
        credentialsSecretRef=reference
    )
    assert env(credentialsSecretRef=reference)["GOOGLE_APPLICATION_CREDENTIALS"] == (
        "/etc/modelserver/credentials/reader.json"
    )


def test_without_credentials_nothing_says_where_they_are() -> None:
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in env()


def test_the_config_is_mounted_as_a_directory_since_a_subpath_is_never_refreshed() -> None:
    (mount,) = [m for m in container()["volumeMounts"] if m["name"] == "config"]

    assert mount == {"name": "config", "mountPath": "/etc/modelserver/config", "readOnly": True}


# The container…


def test_a_variable_that_is_given_replaces_ours_and_comes_after_them() -> None:
    given_env = [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/mine"}]

    merged = container(credentialsSecretRef={"name": "key"}, env=given_env)["env"]

    assert [variable["name"] for variable in merged] == [
        "POD_NAME",
        "POD_NAMESPACE",
        "POD_UID",
        "MODELSERVER_CACHE_DIR",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ]
    assert merged[-1] == given_env[0]


def test_gpus_are_a_limit_beside_the_others() -> None:
    resources = {"requests": {"cpu": 2}, "limits": {"memory": "8Gi"}}

    assert container(resources=resources, gpu={"count": 2})["resources"] == {
        "requests": {"cpu": "2"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "2"},
    }


def test_without_resources_none_are_claimed() -> None:
    assert "resources" not in container()


def test_a_taint_with_the_name_of_the_gpus_is_tolerated() -> None:
    tolerations = pod(gpu={"resourceName": "amd.com/gpu"})["tolerations"]

    assert tolerations == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_toleration_that_is_given_for_the_gpus_is_kept() -> None:
    mine = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "l4"}

    assert pod(gpu={}, tolerations=[mine])["tolerations"] == [mine]


@pytest.mark.parametrize(
    ("spec", "image", "policy", "secrets"),
    [
        pytest.param({}, "server:1", "IfNotPresent", [{"name": "chart"}], id="from the chart"),
        pytest.param(
            {"image": "mine:2", "imagePullPolicy": "Never", "imagePullSecrets": [{"name": "my"}]},
            "mine:2",
            "Never",
            [{"name": "my"}],
            id="from the resource",
        ),
    ],
)
def test_the_image_and_how_to_pull_it(
    spec: JsonObject, image: str, policy: str, secrets: list[JsonObject]
) -> None:
    defaults = Defaults("server:1", "IfNotPresent", ("chart",))

    rendered = pod_template(a_server(**spec), defaults)["spec"]

    assert rendered["containers"][0]["image"] == image
    assert rendered["containers"][0]["imagePullPolicy"] == policy
    assert rendered["imagePullSecrets"] == secrets


def test_the_grace_period_covers_the_wait_before_the_stop_and_the_drain() -> None:
    rendered = pod()

    wait = rendered["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert rendered["terminationGracePeriodSeconds"] >= wait + 30


def test_spreading_over_nodes_is_the_default_and_can_be_replaced() -> None:
    mine = {"maxSkew": 3, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}

    (default,) = pod()["topologySpreadConstraints"]

    assert default["topologyKey"] == "kubernetes.io/hostname"
    assert default["whenUnsatisfiable"] == "ScheduleAnyway"
    assert pod(topologySpreadConstraints=[mine])["topologySpreadConstraints"] == [mine]


# podTemplate…


def test_a_pod_template_adds_what_is_new_and_changes_what_is_known() -> None:
    given_template = {
        "metadata": {"annotations": {"inject": "true"}, "labels": {"team": "x"}},
        "spec": {
            "terminationGracePeriodSeconds": 600,
            "containers": [
                {"name": "modelserver", "livenessProbe": {"failureThreshold": 60}},
                {"name": "proxy", "image": "proxy:1"},
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }

    merged = template(podTemplate=given_template)

    server, proxy = merged["spec"]["containers"]
    assert merged["metadata"]["annotations"] == {"inject": "true"}
    assert merged["metadata"]["labels"]["team"] == "x"
    assert merged["spec"]["terminationGracePeriodSeconds"] == 600
    assert server["image"] == "server:1"
    assert server["livenessProbe"]["failureThreshold"] == 60
    assert server["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert proxy == {"name": "proxy", "image": "proxy:1"}
    assert {"name": "scratch", "emptyDir": {}} in merged["spec"]["volumes"]
    assert len(merged["spec"]["volumes"]) == len(pod()["volumes"]) + 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"modelserver.dev/name": "another"}},
        {"labels": {"modelserver.dev/name": None}},
        {"labels": None},
        {"labels": {}},
        {"labels": "nonsense"},
    ],
)
def test_a_pod_template_can_not_take_a_pod_out_of_its_selector(metadata: JsonObject) -> None:
    labels = template(podTemplate={"metadata": metadata})["metadata"]["labels"]

    assert labels["modelserver.dev/name"] == "web"


# Security…

NAMES = st.sampled_from(["alpha", "beta", "gamma"])
SANE_TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"annotations": st.dictionaries(NAMES, NAMES, max_size=2)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "dnsPolicy": st.just("Default"),
                "hostAliases": st.just([{"ip": "127.0.0.1", "hostnames": ["x"]}]),
                "volumes": st.lists(
                    st.builds(lambda name: {"name": name, "emptyDir": {}}, NAMES),
                    max_size=2,
                ),
                "containers": st.lists(
                    st.builds(
                        lambda name: {"name": "modelserver", "env": [{"name": name, "value": "1"}]},
                        NAMES,
                    ),
                    max_size=1,
                ),
            },
        ),
    },
)
SPECS: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {},
    optional={
        "models": st.lists(
            st.builds(
                lambda name, scheme: {"name": name, "uri": f"{scheme}://place/{name}"},
                NAMES,
                st.sampled_from(["gs", "pvc"]),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda model: str(model["name"]),
        ),
        "gpu": st.just({"count": 1}),
        "cache": st.sampled_from([{"sizeLimit": "1Gi"}, {"claimName": "cache"}]),
        "credentialsSecretRef": st.just({"name": "key"}),
        "env": st.just([{"name": "A", "value": "b"}]),
        "podTemplate": SANE_TEMPLATES,
    },
)


@settings(deadline=None)
@given(SPECS)
def test_every_pod_meets_the_restricted_profile_and_has_no_token(spec: JsonObject) -> None:
    rendered = pod(**spec)

    assert restricted_violations(rendered) == []
    assert rendered["automountServiceAccountToken"] is False
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in rendered["containers"])


@pytest.mark.parametrize(
    "insane",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"runAsNonRoot": False}},
        {"securityContext": {"sysctls": [{"name": "kernel.panic", "value": "1"}]}},
        {"containers": [{"name": "modelserver", "securityContext": {"privileged": True}}]},
        {"containers": [{"name": "modelserver", "securityContext": {"capabilities": None}}]},
        {"containers": [{"name": "modelserver", "ports": [{"containerPort": 1, "hostPort": 1}]}]},
        {"containers": [{"name": "more", "image": "x"}]},
        {"initContainers": [{"name": "more", "image": "x"}]},
        {
            "containers": [
                {"name": "modelserver", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}
            ]
        },
    ],
)
def test_what_restricted_forbids_is_told(insane: JsonObject) -> None:
    assert restricted_violations(pod(podTemplate={"spec": insane})) != []
