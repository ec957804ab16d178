"""Container images as archives (as of `docker save`), made of a few files, without a builder."""

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageRecipe:
    """What an image holds. `files`: absolute paths in it, to files here; all become executable."""

    reference: str
    files: Mapping[str, Path]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    user: str = "65532:65532"
    labels: Mapping[str, str] = field(default_factory=dict)


def write_archive(recipe: ImageRecipe, target: Path) -> None:
    """Write the image to `target`. The same recipe and files give the same bytes."""
    layer = _layer(recipe.files)
    config = json.dumps(image_config(recipe, hashlib.sha256(layer).hexdigest())).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [recipe.reference], "Layers": ["layer.tar"]}]
    members = {
        config_name: config,
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(target, "w") as archive:
        for name, content in members.items():
            _add(archive, name, content, 0o644)


def image_config(recipe: ImageRecipe, layer_digest: str) -> dict[str, Any]:
    """The image's configuration, as OCI and Docker have it."""
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": list(recipe.entrypoint),
            "Cmd": list(recipe.command),
            "User": recipe.user,
            "Labels": dict(recipe.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created_by": "testcluster"}],
    }


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for path, file in sorted(files.items()):
            _add(layer, path.removeprefix(os.sep), file.read_bytes(), 0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))
