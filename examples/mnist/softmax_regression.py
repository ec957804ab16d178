"""Softmax regression in TensorFlow: 784 pixels to the probabilities of 10 digits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from mnist.data import NUM_LABELS, NUM_PIXELS, LabelledImages

_BATCH_SIZE = 50
_LEARNING_RATE = 0.01


@dataclass(frozen=True, slots=True)
class SoftmaxRegression:
    """`weights` is a float32 variable of shape (784, 10), `biases` one of shape (10,)."""

    weights: tf.Variable
    biases: tf.Variable

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Map images of shape (n, 784) to unscaled scores of shape (n, 10)."""
        return tf.matmul(images, self.weights) + self.biases

    def error_rate(self, data: LabelledImages) -> float:
        """Return the share, from 0 to 1, of `data` that is taken for another digit."""
        predictions = np.argmax(self.logits(tf.constant(data.images)).numpy(), axis=1)
        return float(np.mean(predictions != data.labels))


def train(
    data: LabelledImages, iterations: int, on_step: Callable[[int, float], None]
) -> SoftmaxRegression:
    """Minimise the mean cross-entropy by gradient descent, from zeros, on batches of 50 images.

    Calls `on_step(number, loss)` after each iteration, numbered from 1. The same data gives the
    same model.
    """
    model = SoftmaxRegression(
        tf.Variable(tf.zeros([NUM_PIXELS, NUM_LABELS])), tf.Variable(tf.zeros([NUM_LABELS]))
    )
    descend = tf.function(_descend)
    batches = _shuffled_batches(data)
    for number in range(1, iterations + 1):
        images, labels = next(batches)
        on_step(number, float(descend(model.weights, model.biases, images, labels)))
    return model


def save(model: SoftmaxRegression, path: Path) -> None:
    """Write a SavedModel into the directory `path`, which must not exist.

    Its signatures `serving_default` and `predict_images` are one and the same: the input `images`
    of shape (n, 784) float32, the output `scores` of shape (n, 10) float32, which sum to 1.
    """

    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.softmax(model.logits(images))}

    module = tf.Module()
    # SavedModel finds variables through the attributes of the module.
    module.weights, module.biases = model.weights, model.biases
    images = tf.TensorSpec([None, NUM_PIXELS], tf.float32, name="images")
    module.predict = tf.function(predict, input_signature=[images])
    signatures = {"serving_default": module.predict, "predict_images": module.predict}
    tf.saved_model.save(module, str(path), signatures)


def _descend(
    weights: tf.Variable, biases: tf.Variable, images: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    with tf.GradientTape() as tape:
        logits = SoftmaxRegression(weights, biases).logits(images)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
    weights_slope, biases_slope = tape.gradient(loss, [weights, biases])
    weights.assign_sub(_LEARNING_RATE * weights_slope)
    biases.assign_sub(_LEARNING_RATE * biases_slope)
    return loss


def _shuffled_batches(data: LabelledImages) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    random = np.random.default_rng(seed=0)
    while True:
        order = random.permutation(len(data))
        for start in range(0, max(len(data) - _BATCH_SIZE, 0) + 1, _BATCH_SIZE):
            chosen = order[start : start + _BATCH_SIZE]
            yield tf.constant(data.images[chosen]), tf.constant(data.labels[chosen])
