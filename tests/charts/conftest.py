"""The chart as the real helm renders and installs it."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testcluster import lifetime
from testcluster.cluster import Cluster, EmbeddedCluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "modelserver-operator"

Object = dict[str, Any]
Render = Callable[..., list[Object]]


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def render(control_plane: Cluster) -> Render:
    """Render the chart with values, as `helm template` does; return its objects."""

    def render(
        values: Mapping[str, object] | None = None, namespace: str = "operators"
    ) -> list[Object]:
        text = control_plane.helm(
            *("template", "release", str(CHART), "--namespace", namespace),
            *("--kube-version", "1.30.0", "--values", "-"),
            input=json.dumps(values or {}),
        )
        return [document for document in yaml.safe_load_all(text) if document]

    return render


@pytest.fixture(scope="module")
def own_cluster(control_plane: Cluster) -> Iterator[Cluster]:
    """A cluster of its own, for what installs and removes the CRD under everybody's feet."""
    if not isinstance(control_plane, EmbeddedCluster):
        pytest.skip("CLUSTER=current: the CRD and the ModelServers there are not ours to remove")
    cluster = lifetime.start_owned()
    yield cluster
    lifetime.stop(cluster)
