"""pytest fixtures: clusters and Cloud Storage for tests. A plug-in, found by its entry point.

`control_plane`, `node` and `two_nodes` are started when a test first asks for them and serve the
whole session; they are different clusters. Tests that use them are marked `cluster`, and `node`
where pods run. CLUSTER=current takes the cluster of the current kubeconfig for all of them instead.

`gcs_emulator` serves the whole session, too; a test has a `bucket` in it and a proxy of its own
before it, `gcs_faults`. Tests that use them are marked `emulator`.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from testcluster import binaries, lifetime
from testcluster.cluster import Cluster
from testcluster.errors import CannotRunError
from testcluster.gcs_emulator import GcsEmulator, built_gcs_emulator, running_gcs_emulator
from testcluster.gcs_faults import FaultProxy
from testcluster.requirements import install_packages, require_node

_NODE_FIXTURES = ("node", "two_nodes")
_FIXTURES = ("control_plane", *_NODE_FIXTURES)
_TEST_SECONDS = 300


class CurrentCluster(Cluster):
    """The cluster of the user's kubeconfig: nothing about its machinery is ours to touch."""

    def restart_apiserver(self) -> None:
        pytest.skip("CLUSTER=current: its API server is not ours to restart")

    def load_image(self, image: str | Path, node: str | None = None) -> None:
        pytest.skip(f"CLUSTER=current: cannot load {image} into its nodes")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A Kubernetes API with all its controllers and no node: pods stay Pending. Needs no root."""
    yield from _cluster(nodes=0)


@pytest.fixture(scope="session")
def node() -> Iterator[Cluster]:
    """A cluster with one node and DNS. Needs root; load images with `load_image`."""
    yield from _cluster(nodes=1)


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[Cluster]:
    """As `node`, with two nodes."""
    yield from _cluster(nodes=2)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace in the cluster whose fixture the test uses; deleted without waiting."""
    used = [name for name in reversed(_FIXTURES) if name in request.fixturenames]
    cluster: Cluster = request.getfixturevalue(used[0] if used else "control_plane")
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[GcsEmulator]:
    """An emulator of Cloud Storage on 127.0.0.1, with its objects in memory."""
    with skipped_where_impossible():
        built_gcs_emulator()
    with running_gcs_emulator() as emulator:
        yield emulator


@pytest.fixture
def bucket(gcs_emulator: GcsEmulator) -> str:
    """The name of a fresh bucket in `gcs_emulator`."""
    name = f"test-{secrets.token_hex(4)}"
    gcs_emulator.create_bucket(name)
    return name


@pytest.fixture
def gcs_faults(gcs_emulator: GcsEmulator) -> Iterator[FaultProxy]:
    """The same Cloud Storage, by way of a proxy in which things can go wrong."""
    with FaultProxy(gcs_emulator) as proxy:
        yield proxy


def _cluster(nodes: int) -> Iterator[Cluster]:
    if os.environ.get("CLUSTER") == "current":
        yield CurrentCluster(Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"))
        return
    with skipped_where_impossible():
        if nodes:
            require_node()
        cluster = lifetime.start_owned()
    try:
        for _ in range(nodes):
            lifetime.add_node(cluster)
        yield cluster
    finally:
        lifetime.stop(cluster)


@contextmanager
def skipped_where_impossible(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Skip the test, saying what this machine lacks; in CI, where all must run, fail."""
    try:
        yield
    except CannotRunError as error:
        if environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a cluster or the emulator of Cloud Storage. A cluster's tests get time: the
    first one waits for it.
    """
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "gcs_emulator" in names:  # which those that use it bring along
            item.add_marker("emulator")
        used = set(_FIXTURES).intersection(names)
        if used:
            item.add_marker("cluster")
        if used.intersection(_NODE_FIXTURES):
            item.add_marker("node")
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need: a first build takes longer than a test."""
    marked = {mark.name for item in session.items for mark in item.iter_markers()}
    programs = _programs(marked)
    if not programs or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    # What is missing here, the fixtures say, test by test.
    with capture.global_and_fixture_disabled(), suppress(CannotRunError):
        if "node" in marked:
            install_packages()
        for program in programs:
            program.build()


def _programs(marked: set[str]) -> list[binaries.GoBinary]:
    """What tests with these markers run."""
    programs: list[binaries.GoBinary] = []
    if "cluster" in marked:
        programs += binaries.FOR_NODES if "node" in marked else binaries.FOR_CONTROL_PLANE
    if "emulator" in marked:
        programs.append(binaries.FAKE_GCS_SERVER)
    return programs
