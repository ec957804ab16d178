import pytest

from modelserver_operator import __version__
from modelserver_operator.cli import main


def test_the_command_prints_its_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])

    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"modelserver-operator {__version__}\n"


def test_an_unknown_flag_exits_with_two(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--nonsense"])

    assert exit_.value.code == 2
    assert "--nonsense" in capsys.readouterr().err
