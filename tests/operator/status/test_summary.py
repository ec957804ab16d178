"""The one-line summaries."""

from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.observations import (
    MNIST,
    a_deployment,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
    an_observation,
    judge,
)


def judge_models(*names: str, versions: tuple[int, ...] = (1,)):
    pod = a_pod()
    specs: list[JsonObject] = [{"name": name, "uri": f"gs://bucket/{name}"} for name in names]
    models = [a_model(*map(a_version, versions), name=name) for name in names]
    return judge(an_observation(a_server(models=specs), [pod], [a_report(pod, *models)]))


def test_serving_versions_names_each_model_with_its_available_versions() -> None:
    assert judge_models("mnist").serving_versions == "mnist:1"
    assert judge_models("a", "b", versions=(1, 2)).serving_versions == "a:2,1 b:2,1"


def test_a_version_that_loads_does_not_serve() -> None:
    pod = a_pod()
    report = a_report(pod, a_model(a_version(1), a_version(2, "Loading")))

    assert judge(an_observation(a_server(), [pod], [report])).serving_versions == "mnist:1"


def test_many_models_are_counted_where_they_do_not_fit() -> None:
    names = [f"model-with-a-long-name-{number}" for number in range(40)]

    found = judge_models(*names)

    assert len(found.serving_versions) <= 256
    assert found.serving_versions.startswith("model-with-a-long-name-0:1 model-")
    shown = found.serving_versions.count(":")
    assert found.serving_versions.endswith(f" +{40 - shown} more")


def test_the_versions_of_one_model_that_do_not_fit_are_cut() -> None:
    found = judge_models("m", versions=tuple(range(10**9, 10**9 + 60)))

    assert len(found.serving_versions) == 256
    assert found.serving_versions.endswith("…")


def test_source_lists_each_uri_once() -> None:
    specs = [MNIST, MNIST | {"name": "again"}, {"name": "b", "uri": "gs://bucket/b"}]

    assert (
        judge(an_observation(a_server(models=specs))).source == "pvc://models/mnist gs://bucket/b"
    )


def test_the_endpoints_are_the_services() -> None:
    endpoints = judge(an_observation(a_server())).endpoints

    assert endpoints.grpc == "web.shop.svc:8500"
    assert endpoints.headless == "dns:///web-headless.shop.svc:8500"


def test_the_selector_is_the_one_label() -> None:
    assert judge(an_observation(a_server())).selector == "modelserver.dev/name=web"


def test_an_autoscaled_server_wants_what_its_deployment_has() -> None:
    server = a_server(autoscaling={"minReplicas": 2, "maxReplicas": 9})

    found = judge(an_observation(server, [a_pod()], [], deployment=a_deployment(5)))
    unmade = judge(an_observation(server, [], [], deployment=a_deployment(5, owner="somebody")))

    assert found.ready_summary == "1/5"
    assert unmade.ready_summary == "0/2"
