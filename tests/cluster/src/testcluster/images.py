"""The images that a cluster itself needs, and one to try things with."""

from dataclasses import dataclass
from pathlib import Path

from testcluster.archive import ImageRecipe, write_archive
from testcluster.binaries import COREDNS, PAUSE, WEBAPP, GoBinary
from testcluster.cache import cache_directory, cached
from testcluster.errors import ClusterError


@dataclass(frozen=True)
class BinaryImage:
    """An image of one statically linked program and nothing else."""

    program: GoBinary
    command: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"localhost/{self.program.name}:1"

    def archive(self) -> Path:
        """The image as a file, built when it is not there yet."""
        binary = self.program.build()
        recipe = ImageRecipe(
            self.reference, {f"/{binary.name}": binary}, (f"/{binary.name}",), self.command
        )
        folder = cache_directory() / "images" / binary.parent.name
        return (
            cached(folder, lambda fresh: write_archive(recipe, fresh / "image.tar")) / "image.tar"
        )


PAUSE_IMAGE = BinaryImage(PAUSE)
COREDNS_IMAGE = BinaryImage(COREDNS)
WEBAPP_IMAGE = BinaryImage(WEBAPP, ("serve", ":8080"))
"""A web server that answers with its pod's name; `webapp get URL` is a client."""

OF_EVERY_NODE = (PAUSE_IMAGE, COREDNS_IMAGE)
_NAMED = {image.program.name: image for image in (*OF_EVERY_NODE, WEBAPP_IMAGE)}


def find_archive(image: str | Path) -> Path:
    """The archive that is meant: a path, or the name of one of the images above."""
    if str(image) in _NAMED:
        return _NAMED[str(image)].archive()
    path = Path(image)
    if not path.is_file():
        known = ", ".join(_NAMED)
        raise ClusterError(
            f"No image archive {image}: give a file as of `docker save`, or one of {known}"
        )
    return path
