import math

from modelserver.admin import Echo, describe_wedged
from modelserver.testing.clock import ManualClock


def test_a_process_whose_parts_come_back_soon_is_well():
    assert describe_wedged({"manager": 0.0, "transport": 59.9}) == ""


def test_parts_that_have_been_at_one_thing_for_too_long_are_named():
    busy = {"transport": 60.0, "manager": math.inf, "serving": 0.1}

    assert describe_wedged(busy) == "no sign of life for 60 s from: manager, transport"


def test_an_echo_that_comes_back_is_not_missed():
    echo = Echo(lambda answer: answer(), clock := ManualClock())

    assert echo.unanswered_seconds() == 0.0
    clock.advance(100)
    assert echo.unanswered_seconds() == 0.0


def test_an_echo_that_stays_out_is_missed_for_as_long_until_it_comes():
    questions = []
    echo = Echo(questions.append, clock := ManualClock())

    echo.unanswered_seconds()
    clock.advance(70)
    assert echo.unanswered_seconds() == 70.0
    assert len(questions) == 1

    questions[0]()
    assert echo.unanswered_seconds() == 0.0
    assert len(questions) == 2
