"""The Rust crates' own tests, with cargo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("MODELSERVER_CACHE") or Path.home() / ".cache" / "modelserver")

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def rust():
    """Skips, saying why, where there is no Rust that the crates build with."""
    looked = subprocess.run(
        [ROOT / "tests/has-rust", "the crates' own tests are skipped"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if looked.returncode:
        pytest.skip(looked.stdout.strip())


@pytest.mark.parametrize("crate", ["server/transport", "tests/bench/load"])
def test_a_crates_own_tests_pass(crate):
    # As `make check` builds: outside the checkout, and without linking libpython.
    build = {
        "CARGO_TARGET_DIR": str(CACHE / "cargo-target" / Path(crate).name),
        "PYO3_PYTHON": sys.executable,
        "PYO3_BUILD_EXTENSION_MODULE": "1",
    }

    tested = subprocess.run(
        ["cargo", "test", "--quiet", "--manifest-path", ROOT / crate / "Cargo.toml"],
        env={**os.environ, **build},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout
    assert "test result: ok. 0 passed" not in tested.stdout
