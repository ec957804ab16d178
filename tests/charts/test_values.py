"""The chart's values: refused where they are mistyped, documented where they are not."""

import json
from collections.abc import Iterator, Mapping

import pytest
import yaml

from testcluster.errors import ClusterError


def leaves(values: Mapping[str, object], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in {"resources", "labels"}:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"metrics": {"podmonitor": {"enabled": True}}}, "podmonitor"),
        ({"crds": {"keep": "yes"}}, "keep"),
        ({"replicas": "2"}, "replicas"),
        ({"replicas": 11}, "replicas"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"namespaces": ["Team_A"]}, "namespaces"),
        ({"namespaces": "team-a"}, "namespaces"),
        ({"log": {"level": "loud"}}, "level"),
        ({"extraArgs": ["-v"]}, "extraArgs"),
    ],
)
def test_a_mistyped_value_is_refused_by_name(render, values, named):
    with pytest.raises(ClusterError, match=named):
        render(values)


def test_a_parent_chart_may_pass_its_globals(render):
    assert render({"global": {"registry": "example"}})


def test_a_service_account_that_is_not_made_must_be_named(render):
    with pytest.raises(ClusterError, match=r"serviceAccount\.name is needed"):
        render({"serviceAccount": {"create": False}})


def test_the_schema_knows_every_value(chart):
    schema = json.loads((chart / "values.schema.json").read_text())

    assert set(schema["properties"]) - {"global"} == set(
        yaml.safe_load((chart / "values.yaml").read_text())
    )


def test_the_readme_explains_every_value(chart):
    readme = (chart / "README.md").read_text()
    values = yaml.safe_load((chart / "values.yaml").read_text())
    opaque = {"podSecurityContext", "securityContext"}

    names = list(leaves({k: v for k, v in values.items() if k not in opaque}))

    assert [name for name in [*names, *opaque] if f"`{name}`" not in readme] == []
