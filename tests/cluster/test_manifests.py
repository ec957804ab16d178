"""The manifests that users are given are what the API server takes, and what the docs name."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "examples/manifests").glob("*.yaml"))
PAGES = ("README.md", "docs/kubernetes.md")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_api_server_accepts_the_manifest(kubernetes, namespace, path):
    for manifest in yaml.safe_load_all(path.read_text()):
        # A generated name is for `kubectl create`.
        verb = "apply" if "name" in manifest["metadata"] else "create"
        flags = ["--server-side"] if verb == "apply" else []
        flags += ["--dry-run=server", "--validate=strict"]

        said = kubernetes.kubectl(
            *("-n", namespace, verb, *flags, "-f", "-"), input=json.dumps(manifest)
        )

        assert "dry run" in said


@pytest.mark.parametrize("page", PAGES)
def test_the_api_server_accepts_the_manifests_in_the_docs(kubernetes, namespace, page):
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)

    for manifest in shown:
        kubernetes.kubectl(
            *("-n", namespace, "apply", "--server-side", "--dry-run=server", "--validate=strict"),
            *("-f", "-"),
            input=manifest,
        )


def test_the_commands_in_the_docs_name_files_that_are_there():
    text = (ROOT / "docs/kubernetes.md").read_text()
    named = set(re.findall(r"(?:examples/manifests|charts)/[\w./-]+\w", text))

    missing = [name for name in named if not (ROOT / name).exists()]

    assert named
    assert missing == []


def test_the_patches_in_the_docs_are_json():
    text = (ROOT / "docs/kubernetes.md").read_text()

    patches = re.findall(r"-p[= ]'([^']+)'", text)

    assert len(patches) == 2
    for patch in patches:
        json.loads(patch)
