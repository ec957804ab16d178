"""What the Makefile asks before it does anything with Rust."""

import subprocess
from pathlib import Path

import pytest

HAS_RUST = Path(__file__).with_name("has-rust")
WITHOUT = "gRPC is served by grpcio"


@pytest.fixture
def ask(tmp_path):
    """Asks where cargo says that it is of `version`; None: where there is none."""

    def ask(version, **env):
        if version is not None:
            cargo = tmp_path / "cargo"
            cargo.write_text(f"#!/bin/sh\necho 'cargo {version} (a1b2c3 2025-02-20)'\n")
            cargo.chmod(0o755)
        return subprocess.run(
            [HAS_RUST, WITHOUT],
            env={"PATH": str(tmp_path), "HOME": str(tmp_path), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return ask


@pytest.fixture(autouse=True)
def only_what_it_needs(tmp_path):
    """The programs that it calls, and no cargo of this machine's."""
    for name in ("bash", "cut", "dirname", "env", "head", "sed", "sort"):
        found = next(path for path in (Path("/usr/bin", name), Path("/bin", name)) if path.exists())
        (tmp_path / name).symlink_to(found)


@pytest.mark.parametrize("version", ["1.85.0", "1.100.0", "2.0.0"])
def test_rust_that_is_new_enough_is_passed_over_in_silence(ask, version):
    asked = ask(version)

    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("version", "env", "said"),
    [
        (None, {}, f"No Rust here: {WITHOUT}\n"),
        ("1.63.0", {}, f"Rust 1.63.0 here is older than 1.85: {WITHOUT}\n"),
        ("1.85.0", {"RUST": "no"}, f"Without Rust, as RUST=no says: {WITHOUT}\n"),
    ],
)
def test_where_there_is_none_to_use_one_line_says_what_follows(ask, version, env, said):
    asked = ask(version, **env)

    assert (asked.returncode, asked.stdout, asked.stderr) == (1, said, "")
