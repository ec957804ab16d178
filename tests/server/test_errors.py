import pytest

from modelserver.errors import (
    DataLossError,
    InternalError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    as_serving_error,
)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("no good"), InternalError, "ValueError: no good"),
        (ValueError(), InternalError, "ValueError"),
        (KeyboardInterrupt(), InternalError, "KeyboardInterrupt"),
        (MemoryError(), ResourceExhaustedError, "MemoryError"),
        (OSError("disk"), UnavailableError, "OSError: disk"),
        (FileNotFoundError("x"), NotFoundError, "FileNotFoundError: x"),
    ],
)
def test_what_plug_ins_raise_becomes_an_error_with_a_message(error, kind, message):
    translated = as_serving_error(error)

    assert type(translated) is kind
    assert translated.message == message


def test_an_error_of_this_package_stays_what_it_is():
    error = DataLossError("truncated")

    assert as_serving_error(error) is error


def test_an_error_that_cannot_say_what_it_is_has_its_name():
    class SpeechlessError(Exception):
        def __str__(self):
            raise RuntimeError

    assert as_serving_error(SpeechlessError()).message == "SpeechlessError"
