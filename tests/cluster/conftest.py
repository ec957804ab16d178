"""What several of the cluster's tests begin with."""

from pathlib import Path

import pytest

from modelserver_operator.api.crd import CRD_NAME
from modelserver_operator.api.generate import CRD_FILE
from testcluster.cluster import Cluster

_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kubernetes(control_plane: Cluster) -> Cluster:
    """The control plane, which knows ModelServers now."""
    file = str(_REPOSITORY / CRD_FILE)
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", file)
    control_plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD_NAME}")
    return control_plane
