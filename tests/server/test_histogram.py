from modelserver.histogram import Histogram, HistogramSnapshot


def test_each_value_is_counted_at_the_first_bound_that_it_does_not_exceed():
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.5, 10.0, 11.0):
        histogram.add(value)

    assert histogram.snapshot() == HistogramSnapshot((1.0, 10.0), (2, 2, 1), 24.0)


def test_a_snapshot_stays_as_it_was():
    histogram = Histogram((1.0,))
    before = histogram.snapshot()

    histogram.add(0.5)

    assert before == HistogramSnapshot((1.0,), (0, 0), 0.0)
