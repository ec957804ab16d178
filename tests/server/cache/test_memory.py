"""What a download takes of the memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

MEGABYTE = 1 << 20
SIZE = 300 * MEGABYTE

FETCHER = f"""
import json, sys
from pathlib import Path

from modelserver.clock import SystemClock
from modelserver.core.storage_path import StoragePath
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.testing.object_store import Generated, MemoryObjectStore


def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


folder = Path(sys.argv[1])
(folder / "files").mkdir()
store = MemoryObjectStore()
store.write("mem://bucket/m/1/model", Generated({SIZE}))
version = StoragePath("", store.list_files("mem://bucket/m/1"), "mem://bucket/m/1")
before = kilobytes("VmRSS:")
Download(store, version, folder, Cancellation(SystemClock())).run()
print(json.dumps([kilobytes("VmHWM:") - before, (folder / "files" / "model").stat().st_size]))
"""


def test_a_download_takes_little_memory_however_large_the_version_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCHER, str(tmp_path)]

    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    grown_kilobytes, size = json.loads(output)
    assert size == SIZE
    assert grown_kilobytes < 64 * 1024
