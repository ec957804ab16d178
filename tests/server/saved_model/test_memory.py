"""Memory comes back after unloading, and weights may be larger than a protobuf message."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from modelserver.saved_model import platform

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# In a process of its own: what other tests left to the allocator would blur the measurement.
CYCLES = """
import resource, sys
from modelserver.core.servable import ServableId
from modelserver.saved_model import SavedModelLoader, SavedModelOptions

def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20

for _ in range(20):
    loader = SavedModelLoader(ServableId("large", 1), sys.argv[1], SavedModelOptions())
    loader.load()
    assert loader.servable().signatures
    loader.unload()
    print(resident_mib())
"""


@pytest.fixture
def path(tmp_path):
    """A directory whose large files do not outlive the test."""
    yield tmp_path / "1"
    shutil.rmtree(tmp_path / "1")


@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_flat_over_twenty_loads(path):
    save_embedding(path, num_rows=16 << 20)  # 64 MiB

    command = [sys.executable, "-c", CYCLES, str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    resident_mib = [float(line) for line in output.split()]
    assert len(resident_mib) == 20
    # Less than one copy of the weights in the 15 cycles after the allocator has settled.
    assert max(resident_mib[15:]) - max(resident_mib[:5]) < 64


@pytest.mark.timeout(300)
def test_weights_of_more_than_two_gibibytes_load_and_answer(load, list_files, path):
    num_rows = (2 << 28) + 1000  # of 4 bytes
    save_embedding(path, num_rows)

    missing = platform({}).missing_files(list_files(path))
    bundle = load(path)
    rows = np.array([0, num_rows - 1], np.int64)
    outputs = bundle.predict("serving_default", {"rows": rows}, ["values"])

    assert missing == []
    assert sum(info.size for info in list_files(path).files.values()) > 2 << 30
    np.testing.assert_array_equal(outputs["values"], [7, 7])


def save_embedding(path, num_rows):
    import tensorflow as tf

    class Embedding(tf.Module):
        def __init__(self):
            self.table = tf.Variable(tf.fill([num_rows], 7.0))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="rows")])
        def __call__(self, rows):
            return {"values": tf.gather(self.table, rows)}

    module = Embedding()
    tf.saved_model.save(module, str(path), signatures=module.__call__)
