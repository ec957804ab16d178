"""docs/tutorial.md shows code and output as they are (tests/e2e runs its commands)."""

import re
import textwrap
from pathlib import Path

import mnist

PACKAGE = Path(mnist.__path__[0])
PAGE = (PACKAGE.parents[1] / "docs" / "tutorial.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def without_indentation(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def test_the_code_of_the_page_is_that_of_the_server() -> None:
    server = without_indentation((PACKAGE / "inference_2.py").read_text())
    shown = [without_indentation(textwrap.dedent(block)) for block in blocks("python")]

    assert len(shown) == 3
    assert [block for block in shown if block not in server] == []


def test_the_server_is_as_short_as_the_page_says() -> None:
    assert len((PACKAGE / "inference_2.py").read_text().splitlines()) < 150


def test_the_page_shows_the_commands_of_the_original_tutorial() -> None:
    commands = "".join(blocks("shell")).splitlines()

    assert commands == [
        "mnist_export --training_iteration=100 --export_version=1 /tmp/mnist_model",
        "mnist_export --training_iteration=2000 --export_version=2 /tmp/mnist_model",
        "ls /tmp/mnist_model",
        "mkdir /tmp/monitored",
        "cp -r /tmp/mnist_model/00000001 /tmp/monitored",
        "mnist_inference_2 --port=9000 /tmp/monitored &",
        "mnist_client --num_tests=1000 --server=localhost:9000 --concurrency=10",
        "cp -r /tmp/mnist_model/00000002 /tmp/monitored",
        "sleep 5",
        "mnist_client --num_tests=1000 --server=localhost:9000 --concurrency=10",
        "kill %1",
        "wait %1",
    ]
