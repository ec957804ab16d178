"""What the documentation shows is what there is."""

import io
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from modelserver import flags
from modelserver.config import parse_tls, read_batching_parameters, read_models
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.sources.storage.router import polling_of
from modelserver.testing.serving import serve_in_memory
from modelserver.upload_manifest import MANIFEST, UploadManifest
from plugins.linear_model import LinearModel

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "examples" / "plugins"
PRICES = (ROOT / "docs" / "storage.md").read_text().splitlines()


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_configuration_files_shown_are_read(tmp_path):
    models, batching, _ = blocks("docs/server.md", "proto")
    (tmp_path / "models.pbtxt").write_text(models)
    (tmp_path / "batching.pbtxt").write_text(batching)

    assert [m.name for m in read_models(tmp_path / "models.pbtxt")] == ["a", "b", "words"]
    assert read_batching_parameters(tmp_path / "batching.pbtxt").allowed_batch_sizes == (32, 128)


def test_the_commands_shown_are_understood(tmp_path):
    models, batching, _ = blocks("docs/server.md", "proto")
    (tmp_path / "models.pbtxt").write_text(models)
    (tmp_path / "batching.pbtxt").write_text(batching)
    (tmp_path / "m").mkdir()
    commands = [
        command.replace("\\\n", " ").replace("=/models/", f"={tmp_path}/").split()
        for command in blocks("docs/server.md", "shell")
        if command.startswith("modelserver")
    ]

    assert len(commands) == 3
    for command in commands:
        flags.parse(command[1:])


def test_the_certificates_shown_are_read(tmp_path):
    *_, shown = blocks("docs/server.md", "proto")

    credentials = parse_tls(shown.encode(), tmp_path / "ssl.pbtxt")

    assert credentials.private_key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert credentials.requires_client_certificate


def test_the_script_shown_writes_certificates_that_are_read(tmp_path):
    (script,) = [b for b in blocks("docs/server.md", "shell") if b.startswith("python3")]
    (tmp_path / "key.pem").write_text("key\n")
    (tmp_path / "chain.pem").write_text("chain\n")

    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True)

    credentials = parse_tls((tmp_path / "ssl.pbtxt").read_bytes(), tmp_path / "ssl.pbtxt")
    assert (credentials.private_key, credentials.certificate_chain) == (b"key\n", b"chain\n")


def test_the_command_that_serves_from_a_bucket_is_understood():
    (command,) = blocks("docs/storage.md", "shell")

    config = flags.parse(command.split()[1:])

    assert config.models[0].base_path == "gs://my-bucket/mnist"
    assert config.cache_size_limit == 20 * 2**30


def test_the_upload_manifest_shown_is_read():
    (shown,) = blocks("docs/storage.md", "json")
    path = StoragePath(
        "/", {MANIFEST: FileInfo(len(shown))}, opener=lambda _: io.BytesIO(shown.encode())
    )

    missing = UploadManifest(lambda _: [])(path)

    assert missing == ["saved_model.pb", "variables/variables.index"]


@pytest.mark.parametrize(
    ("pods", "poll_seconds", "calls", "dollars"),
    [(1, 30, "96,000", "$0.48"), (1, 1, "2,640,000", "$13.18")],
)
def test_the_price_shown_of_polling_is_what_it_comes_to(pods, poll_seconds, calls, dollars):
    polling = polling_of("gs://bucket/model")
    hourly = pods * (3600 / poll_seconds + 3600 / polling.relist_seconds)
    monthly = hourly * 730

    row = next(line for line in PRICES if calls in line)
    assert float(calls.replace(",", "")) == pytest.approx(monthly, rel=0.01)
    assert dollars in row
    assert float(dollars[1:]) == pytest.approx(monthly * 0.05 / 10_000, abs=0.01)


@pytest.mark.parametrize(
    ("file", "language"),
    [
        ("manifest_source.py", "python"),
        ("rollback_policy.py", "python"),
    ],
)
def test_the_plug_ins_code_shown_is_theirs(file, language):
    source = (PLUGINS / file).read_text()
    shown = [block.strip() for block in blocks("docs/plugins.md", language)]

    assert any(block in source for block in shown)


def test_the_entry_point_shown_is_installed():
    (shown,) = blocks("docs/plugins.md", "toml")
    project = tomllib.loads((ROOT / "examples" / "pyproject.toml").read_text())["project"]
    installed = project["entry-points"]["modelserver.platforms"]

    assert tomllib.loads(shown)["project"]["entry-points"]["modelserver.platforms"].items() <= (
        installed.items()
    )


@pytest.mark.parametrize("file", sorted(PLUGINS.glob("*.py")), ids=lambda path: path.name)
def test_every_plug_in_is_under_a_hundred_lines_and_on_the_table(file):
    assert len(file.read_text().splitlines()) < 100
    if file.name != "__init__.py":
        assert f"`{file.name}`" in (ROOT / "docs" / "plugins.md").read_text()


def test_the_examples_use_the_public_api_alone():
    imports = re.compile(r"^\s*(?:from|import) (modelserver[\w.]*)(?: import (.*))?$", re.MULTILINE)
    for file in (ROOT / "examples").rglob("*.py"):
        for module, names in imports.findall(file.read_text()):
            private = [
                part for part in f"{module} {names}".replace(",", " ").split() if "._" in part
            ]
            private += [name for name in names.split(",") if name.strip().startswith("_")]
            assert not private, f"{file}: {private}"


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/server.md", "docs/plugins.md", "docs/tutorial.md", "docs/storage.md"],
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def test_the_servable_shown_is_served_in_memory():
    weights, bias = np.ones((2, 1), np.float32), np.zeros(1, np.float32)
    x = np.array([[3.0, 4.0]], np.float32)

    with serve_in_memory({"m": LinearModel(weights, bias)}) as client:
        answer = client.predict("m", {"x": x})

    assert answer["y"].tolist() == [[7.0]]
    assert (
        'with serve_in_memory({"m": LinearModel(weights, bias)}) as client:'
        in (ROOT / "docs" / "plugins.md").read_text()
    )
