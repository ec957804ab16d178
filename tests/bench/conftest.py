"""What tests of the load generator have in common."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def load_generator() -> ModuleType:
    """The module load_generator.py."""
    file = Path(__file__).with_name("load_generator.py")
    spec = importlib.util.spec_from_file_location("load_generator", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Loader:
    """Writes messages to files and makes a short load with them."""

    module: ModuleType
    folder: Path

    def __call__(
        self, port: int, requests: list[bytes], answers: list[bytes], **options: Any
    ) -> Any:
        files = [self._write("request", requests), self._write("answer", answers)]
        defaults = {"path": "/test.Test/Echo", "seconds": 0.3, "warm_up_seconds": 0.1}
        load = self.module.GrpcLoad(port, requests=files[0], answers=files[1], **defaults | options)
        return self.module.run(load)

    def _write(self, name: str, messages: list[bytes]) -> list[Path]:
        files = [self.folder / f"{name}-{number}" for number in range(len(messages))]
        for file, message in zip(files, messages, strict=True):
            file.write_bytes(message)
        return files


@pytest.fixture
def load(load_generator: ModuleType, tmp_path: Path) -> Loader:
    """Makes loads. The first test that has it waits for the program's build."""
    try:
        load_generator.build()
    except load_generator.CargoMissingError as error:
        pytest.skip(str(error))
    return Loader(load_generator, tmp_path)
