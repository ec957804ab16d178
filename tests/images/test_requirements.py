"""The locks that the images install."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "requirements"
PIN = re.compile(r"^([a-z0-9-]+)==([^ ;]+)( ; [^\\]+)? \\$")


def asked(name):
    lines = (line.strip() for line in (FOLDER / name).read_text().splitlines())
    return {line for line in lines if line and not line.startswith(("#", "-"))}


def pins(name):
    return {
        (match[1], match[2])
        for line in (FOLDER / name).read_text().splitlines()
        if (match := PIN.match(line))
    }


def test_the_gpu_image_installs_what_the_cpu_image_does_but_for_tensorflow():
    cpu, gpu = asked("server.in"), asked("server-gpu.in")

    assert gpu - cpu == {"tensorflow[and-cuda]"}
    assert cpu - gpu == {"tensorflow-cpu"}


def test_both_images_have_the_same_versions_of_what_they_share():
    cpu, gpu = pins("server.txt"), pins("server-gpu.txt")
    names = {name for name, _ in cpu} & {name for name, _ in gpu}

    assert len(names) > 30
    assert {pin for pin in cpu ^ gpu if pin[0] in names} == set()
    assert dict(cpu)["tensorflow-cpu"] == dict(gpu)["tensorflow"]


@pytest.mark.parametrize("name", ["server.txt", "server-gpu.txt", "operator.txt", "build.txt"])
def test_every_package_is_pinned_and_hashed_and_no_address_is_named(name):
    text = (FOLDER / name).read_text()
    blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]

    assert blocks
    assert [
        block
        for block in blocks
        if "--hash=sha256:" not in block or not PIN.match(block.split("\n")[0])
    ] == []
    assert "://" not in text
