"""Batching that changes while requests come."""

import threading

import numpy as np
import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.clock import SystemClock
from modelserver.errors import UnavailableError
from modelserver.inference import (
    BatchedPredictor,
    BatchingOptions,
    DirectPredictor,
    Prediction,
)
from modelserver.inference.adjustable import AdjustablePredictor
from modelserver.testing.executor import ManualExecutor
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor

SMALL, LARGE = BatchingOptions(max_batch_size=2), BatchingOptions(max_batch_size=64)


def prediction(x=4.0):
    return Prediction(HALF_PLUS_TWO, {"x": np.array([x], np.float32)}, ["y"])


class Scene:
    """An adjustable predictor whose unbatched runs wait for the test."""

    def __init__(self):
        self.model = FakePredictor()
        self.executor = ManualExecutor()
        self.made = []
        self.scheduler = SharedBatchScheduler(1)
        self.predictor = AdjustablePredictor(self.make, None)

    def make(self, options):
        self.made.append(options)
        if options is None:
            return DirectPredictor(self.model, self.executor, SystemClock())
        return BatchedPredictor(self.model, self.scheduler, options)

    def submit(self, answers):
        self.predictor.submit(prediction(), answers.append)


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.scheduler.stop()


def test_requests_to_come_use_the_new_options_and_those_that_wait_are_answered(scene):
    waiting, answered = [], threading.Event()
    scene.submit(waiting)

    scene.predictor.use(LARGE)
    scene.predictor.submit(prediction(), lambda answer: answered.set())
    assert answered.wait(20)
    assert waiting == []
    scene.executor.run_all()

    assert waiting[0]["y"].tolist() == [4.0]


def test_a_request_that_was_on_its_way_when_the_options_changed_is_served(scene):
    late = scene.predictor._current.submit  # as a thread that had got so far
    answers = []

    scene.predictor.use(SMALL)
    late(prediction(), answers.append)
    scene.executor.run_all()

    assert answers[0]["y"].tolist() == [4.0]


def test_options_that_come_back_find_what_was_made_for_them(scene):
    for options in (SMALL, None, LARGE, SMALL, None, LARGE):
        scene.predictor.use(options)

    assert scene.made == [None, SMALL, LARGE]


def test_closing_waits_for_every_request_and_refuses_those_to_come(scene):
    waiting, refused = [], []
    scene.submit(waiting)
    scene.predictor.use(SMALL)
    closing = threading.Thread(target=scene.predictor.close)
    closing.start()
    while not scene.predictor._is_closed:
        threading.Event().wait(0.001)
    scene.executor.run_all()
    closing.join(20)

    scene.submit(refused)
    scene.predictor.use(LARGE)

    assert waiting[0]["y"].tolist() == [4.0]
    assert isinstance(refused[0], UnavailableError)
    assert scene.made == [None, SMALL]
