"""modelserver: TensorFlow Serving's design in Python.

The public API is in the subpackages: `modelserver.core` (the nouns and the manager),
`modelserver.sources`, `modelserver.batching`, `modelserver.inference`, one package a platform
(`modelserver.saved_model`, `modelserver.lookup`), and `modelserver.simple_servers` to start with.
Importing this package imports nothing else.
"""

__version__ = "0.1.0"
