"""How a tool ends."""

import pytest

from modelserver.errors import InvalidArgumentError, NotFoundError
from modelserver.tools.answer import amount, answer, run


def fail_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InvalidArgumentError("gs:// names no bucket"), 2, "gs:// names no bucket"),
        (NotFoundError("/m not found"), 1, "/m not found"),
        (NotFoundError("two\nlines"), 1, "two lines"),
        (NotFoundError("\x1b[31mred \udcff"), 1, r"\x1b[31mred \udcff"),
        (OSError(28, "No space left on device", "/m/1"), 1, "/m/1: No space left on device"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError("something"), 1, "something"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(capsys, error, code, line):
    assert run("tool", fail_with(error)) == code
    assert capsys.readouterr() == ("", f"tool: {line}\n")


def test_an_error_that_is_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run("tool", fail_with(ZeroDivisionError()))


def test_what_succeeds_has_the_code_0(capsys):
    assert run("tool", lambda: answer("one", "two")) == 0
    assert capsys.readouterr() == ("one\ntwo\n", "")


@pytest.mark.parametrize(
    ("files", "size", "words"), [(1, 8, "1 file, 8 bytes"), (3, 4_200_000, "3 files, 4.2 MB")]
)
def test_amounts_are_in_words(files, size, words):
    assert amount(files, size) == words
