"""A process is known by its pid and start time."""

import os
import subprocess

import pytest

from testcluster.process_identity import ProcessIdentity, has_ended, start_time

STAT = "4021 (a (b) c) S 1 4021 4021 0 -1 4194560 0 0 0 0 1 2 0 0 20 0 1 0 8877 123 45"


def test_the_start_time_is_found_behind_a_name_with_spaces_and_parentheses():
    assert start_time(STAT) == 8877


@pytest.mark.parametrize(("state", "ended"), [("S", False), ("R", False), ("Z", True), ("X", True)])
def test_a_zombie_counts_as_ended(state, ended):
    assert has_ended(STAT.replace(") S ", f") {state} ")) is ended


def test_a_process_is_alive_until_it_is_ended():
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity.is_alive()
        process.kill()

    assert not identity.is_alive()


def test_a_process_with_the_pid_and_another_start_time_is_not_signalled():
    with subprocess.Popen(["sleep", "60"]) as process:
        actual = ProcessIdentity.of(process.pid)
        gone = ProcessIdentity(actual.pid, actual.start_time + 1)

        assert gone.end(15, seconds=0)
        assert actual.is_alive()
        process.kill()


def test_an_identity_survives_being_written_down():
    identity = ProcessIdentity.of(os.getpid())

    assert ProcessIdentity.parse(str(identity)) == identity
