"""Write a SavedModel to BASE/1: the layers whose weights are in BASE/model.npz or, without that
file, a MobileNet with samples of what it answers.
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf


def export_layers(base: Path) -> None:
    """Dense layers with ReLU between them and a softmax at the end, as in `numpy_model`, under the
    names that the benchmark calls them by, and under those of the tutorial's server.
    """
    with np.load(base / "model.npz") as file:
        weights = [tf.Variable(file[f"w{number}"]) for number in range(len(file.files))]
    features = weights[0].shape[0]

    def scores(x):
        for weight in weights[:-1]:
            x = tf.nn.relu(x @ weight)
        return tf.nn.softmax(x @ weights[-1])

    @tf.function(input_signature=[tf.TensorSpec([None, features], tf.float32, name="x")])
    def predict(x):
        return {"y": scores(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, features], tf.float32, name="images")])
    def predict_images(images):
        return {"scores": scores(images)}

    module = tf.Module()
    module.weights = weights
    signatures = {"serving_default": predict, "predict_images": predict_images}
    tf.saved_model.save(module, str(base / "1"), signatures=signatures)


def export_mobilenet(base: Path) -> None:
    """MobileNetV2 0.35 for pictures of 96 × 96, with random weights."""
    tf.keras.utils.set_random_seed(1)
    network = tf.keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=10)

    @tf.function(input_signature=[tf.TensorSpec([None, 96, 96, 3], tf.float32, name="x")])
    def predict(x):
        return {"y": network(x, training=False)}

    module = tf.Module()
    module.network, module.predict = network, predict
    tf.saved_model.save(module, str(base / "1"), signatures=predict)
    x = np.random.default_rng(1).random((8, 96, 96, 3), np.float32)
    np.savez(base / "samples.npz", x=x, y=predict(tf.constant(x))["y"].numpy())


if __name__ == "__main__":
    base_path = Path(sys.argv[1])
    is_layers = (base_path / "model.npz").exists()
    (export_layers if is_layers else export_mobilenet)(base_path)
