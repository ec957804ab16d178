"""From flags and variables to settings, and what is refused."""

from pathlib import Path

import pytest

from modelserver_operator.cli import parse
from modelserver_operator.settings import OperatorSettings

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAME": "op-1", "POD_NAMESPACE": "system"}


def settings(*argv: str, **environ: str) -> OperatorSettings:
    return parse(argv, {**IN_POD, **environ})


def test_in_a_pod_nothing_needs_to_be_said() -> None:
    found = settings()

    assert found.kubeconfig is None
    assert found.namespaces == ()
    assert (found.pod_namespace, found.lease_namespace) == ("system", "system")
    assert found.leader_elect
    assert found.server_image.startswith("localhost/modelserver:")


def test_every_process_has_an_identity_of_its_own() -> None:
    one, other = settings(), settings()

    assert one.identity.startswith("op-1_")
    assert one.identity != other.identity


@pytest.mark.parametrize(
    ("flag", "variable", "text", "field", "value"),
    [
        ("--namespaces", "NAMESPACES", "a, b,,a", "namespaces", ("a", "b")),
        ("--server-image", "SERVER_IMAGE", "r/i:1", "server_image", "r/i:1"),
        (
            "--server-image-pull-policy",
            "SERVER_IMAGE_PULL_POLICY",
            "Never",
            "image_pull_policy",
            "Never",
        ),
        (
            "--server-image-pull-secrets",
            "SERVER_IMAGE_PULL_SECRETS",
            "x,y",
            "image_pull_secrets",
            ("x", "y"),
        ),
        ("--poll-seconds", "POLL_SECONDS", "2.5", "poll_seconds", 2.5),
        ("--resync-seconds", "RESYNC_SECONDS", "30", "resync_seconds", 30.0),
        ("--workers", "WORKERS", "3", "workers", 3),
        ("--lease-name", "LEASE_NAME", "l", "lease_name", "l"),
        ("--lease-namespace", "LEASE_NAMESPACE", "n", "lease_namespace", "n"),
        ("--health-port", "HEALTH_PORT", "9", "health_port", 9),
        ("--health-host", "HEALTH_HOST", "::1", "health_host", "::1"),
        ("--log-level", "LOG_LEVEL", "debug", "log_level", "debug"),
        ("--log-format", "LOG_FORMAT", "json", "log_format", "json"),
    ],
)
def test_a_flag_and_its_variable_say_the_same(
    flag: str, variable: str, text: str, field: str, value: object
) -> None:
    by_flag = settings(f"{flag}={text}")
    by_variable = settings(**{f"MODELSERVER_OPERATOR_{variable}": text})

    assert getattr(by_flag, field) == getattr(by_variable, field) == value


def test_a_flag_overrides_its_variable() -> None:
    assert settings("--workers=2", MODELSERVER_OPERATOR_WORKERS="5").workers == 2


@pytest.mark.parametrize("text", ["false", "0", "no", "off"])
def test_leader_election_can_be_switched_off(text: str) -> None:
    assert not settings("--no-leader-elect").leader_elect
    assert not settings(MODELSERVER_OPERATOR_LEADER_ELECT=text).leader_elect
    assert settings("--leader-elect", MODELSERVER_OPERATOR_LEADER_ELECT=text).leader_elect


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--namespaces=Team A", "'Team A' is no name of a namespace"),
        ("--poll-seconds=0", "'0' is no number from 0.5 to 60"),
        ("--workers=many", "'many' is no number from 1 to 64"),
        ("--health-port=99999", "'99999' is no number from 0 to 65535"),
        ("--log-format=xml", "invalid choice: 'xml'"),
        ("--server-image-pull-policy=Sometimes", "invalid choice: 'Sometimes'"),
        ("--kubeconfig=/nowhere/config", "there is no file /nowhere/config"),
        ("--server-imag", "--server-imag"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    argument: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        settings(argument)

    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "text"), [("WORKERS", "many"), ("LOG_LEVEL", "loud"), ("LEADER_ELECT", "maybe")]
)
def test_a_variable_that_makes_no_sense_is_refused_by_the_name_of_its_flag(
    variable: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        settings(**{f"MODELSERVER_OPERATOR_{variable}": text})

    error = capsys.readouterr().err
    assert f"--{variable.lower().replace('_', '-')}" in error
    assert text in error


def test_outside_a_pod_the_usual_kubeconfig_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    usual = tmp_path / ".kube" / "config"
    usual.write_text("{}")
    other = tmp_path / "other"
    other.write_text("{}")

    assert parse([], {"HOME": str(tmp_path)}).kubeconfig == usual
    assert parse([], {"HOME": str(tmp_path), "KUBECONFIG": str(other)}).kubeconfig == other
    assert parse(["--kubeconfig", str(other)], IN_POD).kubeconfig == other


def test_without_any_cluster_it_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([], {"HOME": str(tmp_path)})

    assert "--kubeconfig" in capsys.readouterr().err


def test_help_teaches_every_flag_and_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        settings("--help")

    text = capsys.readouterr().out
    assert stop.value.code == 0
    for word in (
        "--namespaces",
        "--no-leader-elect",
        "MODELSERVER_OPERATOR_POLL_SECONDS",
        "/livez",
    ):
        assert word in text
