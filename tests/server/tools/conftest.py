"""What the tools are tried on: tables, which are versions of the platform `lookup`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelserver import cli

TABLE = b"a,1\nb,2\n"


class Outcome:
    """What a command has said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def modelserver(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command `modelserver` with these arguments."""

    def run(*argv: object) -> Outcome:
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path, which is empty."""
    path = tmp_path / "words"
    path.mkdir()
    return path


def write_table(directory: Path, content: bytes = TABLE) -> Path:
    """Let a directory be a version, whole unless the content is empty."""
    directory.mkdir(parents=True)
    (directory / "table.csv").write_bytes(content)
    return directory


@pytest.fixture
def table() -> Callable[..., Path]:
    return write_table
