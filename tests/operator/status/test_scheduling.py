"""What the scheduler says, without what changes each time."""

import pytest

from modelserver_operator.status.scheduling import causes, hints


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are "
            "available: 1 No preemption victims found for incoming pod.",
            ("Insufficient nvidia.com/gpu",),
            id="one cause",
        ),
        pytest.param(
            "0/3 nodes are available: 1 node(s) had untolerated taint {a: b, c: d}, "
            "2 Insufficient memory.",
            ("Insufficient memory", "node(s) had untolerated taint {a: b, c: d}"),
            id="two causes, one with a comma",
        ),
        pytest.param(
            '0/1 nodes are available: persistentvolumeclaim "models" not found.',
            ('persistentvolumeclaim "models" not found',),
            id="no count",
        ),
        pytest.param(
            "no nodes available to schedule pods",
            ("no nodes available to schedule pods",),
            id="no nodes at all",
        ),
    ],
)
def test_causes_are_told_without_counts(message: str, expected: tuple[str, ...]) -> None:
    assert causes(message) == expected


def test_a_node_that_comes_or_goes_changes_nothing() -> None:
    before = "0/9 nodes are available: 3 Insufficient cpu, 6 Insufficient memory."
    after = "0/8 nodes are available: 2 Insufficient memory, 6 Insufficient cpu."

    assert causes(before) == causes(after)


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("1 Insufficient example.com/gpu", "spec.gpu.count"),
        ("1 Insufficient memory", "spec.resources.requests"),
        ("1 Too many pods", "add a node"),
        ('persistentvolumeclaim "m" not found', "create the claim"),
        ("pod has unbound immediate PersistentVolumeClaims", "kubectl describe pvc"),
        ("1 node(s) had volume node affinity conflict", "ReadWriteOnce"),
        ("1 node(s) had untolerated taint {gpu: }", "spec.tolerations"),
        ("1 node(s) didn't match Pod's node affinity/selector", "spec.nodeSelector"),
    ],
)
def test_known_causes_come_with_what_to_do(message: str, hint: str) -> None:
    (found,) = hints(message)

    assert hint in found
