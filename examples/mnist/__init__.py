"""The MNIST tutorial of TensorFlow Serving, in Python and on modelserver's public API.

`mnist_export` trains and exports a version of the model, `mnist_inference_2` serves the newest
version, `mnist_client` measures its error rate, and `python -m mnist.tutorial` does all of it.
docs/tutorial.md walks through the commands.
"""
