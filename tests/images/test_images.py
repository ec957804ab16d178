"""What is in the images, what is not, and that they work as Kubernetes runs them."""

import json
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
UNWANTED = re.compile(
    r"(ba|da|z)?sh|busybox|perl.*|pip[\d.]*|uv|apt(-.*)?|dpkg(-.*)?"
    r"|(g?cc|[gc]\+\+|clang|cpp|ld|as|strip|make|go)(-.*)?"
)
IMPORT_EVERYTHING = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
sources = {getattr(module, "__cached__", None) for module in sys.modules.values()} - {None}
print(json.dumps(sorted(path for path in sources if not os.path.exists(path))))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(params=["server", "operator"])
def kind(request):
    return request.param


@pytest.fixture
def image(request, kind):
    return request.getfixturevalue(f"{kind}_image")


def files(image):
    for folder, _, names in os.walk(image.root):
        for name in names:
            yield Path(folder, name)


def output(process, seconds=120):
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, text
    return text


def test_the_version_is_said_without_anything_but_the_image(kind, image, tmp_path):
    project = tomllib.loads((ROOT / kind / "pyproject.toml").read_text())["project"]

    said = output(image.start(tmp_path, "--version", command=[project["name"]]))

    assert said.strip() == f"{project['name']} {project['version']}"
    assert image.config["Labels"]["org.opencontainers.image.version"] == project["version"]


def test_the_labels_tell_what_it_is_and_where_it_comes_from(image):
    labels = {key.rpartition(".")[2]: value for key, value in image.config["Labels"].items()}

    assert {"title", "description", "licenses", "source", "version", "revision"} <= set(labels)
    assert labels["licenses"] == "Apache-2.0"
    assert all(labels.values())


def test_there_is_no_shell_package_manager_or_compiler(image):
    found = {path for path in files(image) if path.parent.name in {"bin", "sbin"}}

    assert found
    assert [path for path in found if UNWANTED.fullmatch(path.name)] == []
    assert list(image.root.glob("**/site-packages/pip")) == []


def test_nothing_raises_rights_and_only_tmp_is_writable(image):
    modes = {path: path.lstat().st_mode for path in files(image) if not path.is_symlink()}

    assert [path for path, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID)] == []
    assert [path for path, mode in modes.items() if mode & stat.S_IWOTH] == []
    assert [path for path in modes if path.lstat().st_uid == 65532] == []


@pytest.mark.parametrize(
    ("image_name", "modules"),
    [
        ("operator_image", ["modelserver_operator.main", "modelserver_operator.cli"]),
        (
            "server_image",
            [
                "modelserver.container",
                "modelserver.saved_model",
                "modelserver_transport",
                "tensorflow",
            ],
        ),
    ],
)
def test_all_that_a_start_imports_is_compiled_already(request, image_name, modules, tmp_path):
    image = request.getfixturevalue(image_name)

    script = ["python", "-c", IMPORT_EVERYTHING]
    said = output(image.start(tmp_path, *modules, command=script))

    assert json.loads(said.splitlines()[-1]) == []


@pytest.mark.parametrize(("image_name", "limit"), [("operator_image", 250), ("server_image", 1100)])
def test_the_image_stays_small(request, image_name, limit):
    image = request.getfixturevalue(image_name)

    assert sum(path.lstat().st_size for path in files(image)) < limit * MEGABYTE


def test_scanners_find_the_packages_that_are_in_it(image):
    status = image.root / "var/lib/dpkg/status.d"

    assert "Package: libssl3\n" in (status / "libssl3").read_text()
    assert (image.root / "usr/share/doc/libssl3/copyright").is_file()


def test_it_trusts_the_usual_authorities_and_no_others(image, tmp_path):
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"

    assert int(output(image.start(tmp_path, command=["python", "-c", script]))) > 100
    local = (Path("/usr/local/share/ca-certificates")).glob("*.crt")
    bundle = (image.root / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert [path for path in local if path.read_text().strip() in bundle] == []
