"""What a machine lacks is named."""

import pytest

from testcluster import requirements
from testcluster.errors import CannotRunError
from testcluster.fixtures import skipped_where_impossible


def test_missing_programs_are_named_by_their_packages():
    missing = requirements.missing_packages(lambda program: program not in ("runc", "ctr"), False)

    assert missing == ["containerd", "containernetworking-plugins", "runc"]


def test_nothing_is_missing_where_all_programs_are_found():
    assert requirements.missing_packages(lambda program: True, True) == []


def test_where_a_cluster_cannot_run_its_tests_are_skipped_with_the_reason():
    with (
        pytest.raises(pytest.skip.Exception, match="needs a penguin"),
        skipped_where_impossible({}),
    ):
        raise CannotRunError("a node needs a penguin")


def test_in_ci_they_fail():
    with (
        pytest.raises(pytest.fail.Exception, match="needs a penguin"),
        skipped_where_impossible({"CI": "true"}),
    ):
        raise CannotRunError("a node needs a penguin")
