import pytest

from modelserver.inference.run_time import RunTime


def known(*seconds: float) -> RunTime:
    run_time = RunTime()
    for each in seconds:
        run_time.add(each)
    return run_time


def test_a_model_that_has_not_run_is_not_known_to_be_quick() -> None:
    assert not RunTime().is_below(1e9)


def test_the_first_run_counts_as_it_is() -> None:
    run_time = known(0.5)

    assert run_time.is_below(0.6)
    assert not run_time.is_below(0.5)


def test_a_run_that_takes_no_time_is_below_any() -> None:
    assert known(0.0).is_below(1e-9)


@pytest.mark.parametrize("limit", [0.02, 1.0])
def test_one_slow_run_does_not_make_a_quick_model_slow_at_once(limit: float) -> None:
    run_time = known(*[limit / 100] * 50, limit)

    assert run_time.is_below(limit)


def test_a_model_that_has_become_slow_is_known_as_slow_after_some_runs() -> None:
    assert not known(*[0.001] * 50, *[1.0] * 50).is_below(0.9)


def test_a_model_that_has_become_quick_is_known_as_quick_after_some_runs() -> None:
    assert known(1.0, *[0.001] * 100).is_below(0.01)


def test_latest_runs_weigh_more_than_early_ones() -> None:
    quick_last, slow_last = known(*[1.0] * 10, *[0.0] * 10), known(*[0.0] * 10, *[1.0] * 10)

    assert quick_last.is_below(0.5)
    assert not slow_last.is_below(0.5)


def test_several_runs_must_not_take_longer_than_arriving_calls_may_wait() -> None:
    run_time = known(0.0002)

    assert run_time.is_below(0.0004, 50)
    assert not run_time.is_below(0.0004, 51)
