"""Images without a builder."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from testcluster.archive import ImageRecipe, write_archive


def test_an_archive_is_a_docker_archive_of_the_files(tmp_path):
    (tmp_path / "program").write_text("#!")
    recipe = ImageRecipe("localhost/it:1", {"/bin/it": tmp_path / "program"}, ("/bin/it",))

    write_archive(recipe, tmp_path / "image.tar")

    with tarfile.open(tmp_path / "image.tar") as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(manifest["Config"]))
        layer = archive.extractfile(manifest["Layers"][0]).read()
    assert manifest["RepoTags"] == ["localhost/it:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert [(file.name, file.mode) for file in files] == [("bin/it", 0o755)]


def test_the_same_recipe_gives_the_same_bytes(tmp_path):
    recipe = ImageRecipe("localhost/it:1", {"/it": Path(__file__)}, ("/it",))
    for name in ("one", "other"):
        write_archive(recipe, tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
