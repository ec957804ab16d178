"""One clear line for every mistake on a command line of the tutorial."""

import pytest

from mnist import client, export
from mnist.command_line import run
from modelserver.errors import NotFoundError

EXPORT = ["DIR"]
CLIENT = ["--server=localhost:9000"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--training_iteration=0", *EXPORT], "'0' is not a whole number from 1 to 1000000"),
        (["--training_iteration=many", *EXPORT], "'many' is not a whole number from 1 to 1000000"),
        (["--export_version=-1", *EXPORT], "'-1' is not a whole number from 1 to"),
        (["--export_version=9223372036854775808", *EXPORT], "from 1 to 9223372036854775807"),
        (["--export=2", *EXPORT], "unrecognized arguments: --export=2"),
        ([], "the following arguments are required: DIR"),
    ],
)
def test_an_invalid_flag_of_mnist_export_gives_one_line_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        export.main(argv)

    assert caught.value.code == 2
    line, rest = capsys.readouterr().err.split("\n", 1)
    assert line.startswith("mnist_export: error: ")
    assert message in line
    assert line.endswith("(see mnist_export --help)")
    assert rest == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--num_tests=10001", *CLIENT], "'10001' is not a whole number from 1 to 10000"),
        (["--concurrency=0", *CLIENT], "'0' is not a whole number from 1 to 1000"),
        (["--server=localhost"], "'localhost' is not HOST:PORT, as in localhost:9000"),
        (["--server=:9000"], "':9000' is not HOST:PORT"),
        (["--server=localhost:0"], "'localhost:0' is not HOST:PORT"),
        ([], "the following arguments are required: --server"),
    ],
)
def test_an_invalid_flag_of_mnist_client_gives_one_line_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        client.main(argv)

    assert caught.value.code == 2
    line, rest = capsys.readouterr().err.split("\n", 1)
    assert line.startswith("mnist_client: error: ")
    assert message in line
    assert rest == ""


@pytest.mark.parametrize("command", [export, client])
def test_help_shows_the_commands_of_the_tutorial(
    command: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])

    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"  {command.PROG} --" in text
    assert "(default: " in text


def test_an_error_of_the_program_becomes_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise NotFoundError("no such thing")

    assert run("prog", fail) == 1

    assert capsys.readouterr().err == "prog: error: no such thing\n"


def test_ctrl_c_gives_the_status_of_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    assert run("prog", interrupt) == 130

    assert capsys.readouterr().err == "prog: interrupted\n"


def test_a_bug_keeps_its_traceback() -> None:
    def divide() -> int:
        return 1 // 0

    with pytest.raises(ZeroDivisionError):
        run("prog", divide)
