import pytest

from modelserver import errors
from modelserver.rpc.status import error_answer, status_code
from modelserver.rpc.transport.base import StatusCode


class QuotaError(errors.ResourceExhaustedError):
    pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgumentError("no"), StatusCode.INVALID_ARGUMENT),
        (errors.NotFoundError("no"), StatusCode.NOT_FOUND),
        (errors.FailedPreconditionError("no"), StatusCode.FAILED_PRECONDITION),
        (errors.ResourceExhaustedError("no"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.UnavailableError("no"), StatusCode.UNAVAILABLE),
        (errors.DeadlineExceededError("no"), StatusCode.DEADLINE_EXCEEDED),
        (errors.CancelledError("no"), StatusCode.CANCELLED),
        (errors.UnimplementedError("no"), StatusCode.UNIMPLEMENTED),
        (errors.DataLossError("no"), StatusCode.DATA_LOSS),
        (errors.InternalError("no"), StatusCode.INTERNAL),
    ],
)
def test_every_error_has_its_code(error: errors.ServingError, code: StatusCode) -> None:
    assert error_answer(error) == (code, "no")


def test_no_error_is_of_a_class_that_the_table_lacks() -> None:
    classes = errors.ServingError.__subclasses__()

    codes = [status_code(error_class("")) for error_class in classes]

    assert StatusCode.UNKNOWN not in codes


def test_health_without_an_error_is_ok() -> None:
    assert status_code(None) == StatusCode.OK


def test_an_error_class_of_a_plug_in_has_its_base_s_code() -> None:
    assert error_answer(QuotaError("full")) == (StatusCode.RESOURCE_EXHAUSTED, "full")


def test_an_exception_of_python_is_translated_first() -> None:
    assert error_answer(KeyError("x")) == (StatusCode.INTERNAL, "KeyError: 'x'")


def test_a_file_name_that_is_not_utf_8_is_written_out() -> None:
    error = errors.DataLossError("cannot read assets/\udcff.txt")

    assert error_answer(error) == (StatusCode.DATA_LOSS, r"cannot read assets/\udcff.txt")


def test_a_message_at_the_limit_stays_whole() -> None:
    assert error_answer(errors.NotFoundError("x" * 1024))[1] == "x" * 1024


def test_a_longer_message_is_cut_and_says_so() -> None:
    assert error_answer(errors.NotFoundError("x" * 1025))[1] == "x" * 1024 + "...TRUNCATED"


def test_a_cut_never_splits_a_character() -> None:
    assert error_answer(errors.NotFoundError("x" + "é" * 600))[1] == (
        "x" + "é" * 511 + "...TRUNCATED"
    )
