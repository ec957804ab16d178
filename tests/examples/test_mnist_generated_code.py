"""The committed protobuf code is what the proto gives, so nobody has to trust it."""

import subprocess
import sys
from pathlib import Path

import pytest

import mnist


@pytest.mark.parametrize("name", ["mnist_pb2.py", "mnist_pb2.pyi"])
def test_generating_the_code_again_changes_nothing(tmp_path: Path, name: str) -> None:
    package = Path(mnist.__path__[0])
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={package.parent}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
        "mnist/mnist.proto",
    ]

    subprocess.run(command, check=True, timeout=30)

    assert (tmp_path / "mnist" / name).read_text() == (package / name).read_text()
