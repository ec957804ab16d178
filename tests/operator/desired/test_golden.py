"""Whole sets of children, as files to read and review: golden/NAME.spec.yaml gives
golden/NAME.children.yaml. After an intended change: `GOLDEN=write pytest THIS_FILE`, and review the
difference; a difference in a pod template reaches users' pods with their next cold change only.
"""

import os
from pathlib import Path

import pytest
import yaml

from modelserver_operator.desired import Defaults, desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities, Observed
from modelserver_operator.testing.observations import a_server
from modelserver_operator.testing.pod_security import restricted_violations

GOLDEN = Path(__file__).parent / "golden"
SPECS = sorted(path.name.removesuffix(".spec.yaml") for path in GOLDEN.glob("*.spec.yaml"))
DEFAULTS = Defaults("registry.example/modelserver:1.0", operator_namespace="modelserver-system")


def children_of(name: str) -> tuple[JsonObject, ...]:
    spec = yaml.safe_load((GOLDEN / f"{name}.spec.yaml").read_text())
    server = a_server(**spec)
    observed = Observed(server, capabilities=Capabilities(pod_monitor=True))
    return desired(server, DEFAULTS, observed).children


class PlainDumper(yaml.SafeDumper):
    """Writes repeated parts out in full."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.mark.parametrize("name", SPECS)
def test_the_children_are_those_of_the_golden_file(name: str) -> None:
    children = children_of(name)

    file = GOLDEN / f"{name}.children.yaml"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(yaml.dump_all(children, Dumper=PlainDumper, width=1000))
    assert list(yaml.safe_load_all(file.read_text())) == list(children)


@pytest.mark.parametrize("name", SPECS)
def test_the_pods_meet_the_restricted_profile(name: str) -> None:
    deployment = next(child for child in children_of(name) if child["kind"] == "Deployment")

    assert restricted_violations(deployment["spec"]["template"]["spec"]) == []
