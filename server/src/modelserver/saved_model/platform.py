"""SavedModelPlatform: the entry `tensorflow` of the group `modelserver.platforms`."""

from collections.abc import Mapping

from modelserver.core.loader import Loader
from modelserver.core.servable import ServableId
from modelserver.core.source import SourceAdapter
from modelserver.core.storage_path import StoragePath
from modelserver.saved_model.completeness import TEXT_GRAPH, CompletenessCheck
from modelserver.saved_model.loader import SavedModelLoader
from modelserver.saved_model.options import SavedModelOptions


class SavedModelPlatform:
    """The `Platform` of SavedModels. Thread-safe."""

    def __init__(self, options: SavedModelOptions) -> None:
        self._options = options
        self._completeness = CompletenessCheck()

    def missing_files(self, path: StoragePath) -> list[str]:
        """Say what the version still lacks. Reads lengths and `variables.index`, no weights."""
        return self._completeness.missing_files(path)

    def must_settle(self, name: str) -> bool:
        """Whether it is an asset, of which nothing but the name is known, or a graph in text form,
        which may end after any MetaGraph.
        """
        return name.startswith(("assets/", "assets.extra/")) or name == TEXT_GRAPH

    def make_loader(self, id: ServableId, path: StoragePath) -> SavedModelLoader:
        """Build the Loader of the version in `path`."""
        return SavedModelLoader(id, path.path, self._options)


def platform(options: Mapping[str, object]) -> SavedModelPlatform:
    """Make the platform; the entry point. The options are the fields of `SavedModelOptions`."""
    return SavedModelPlatform(SavedModelOptions.from_mapping(options))


def saved_model_source_adapter(
    options: SavedModelOptions | None = None,
) -> SourceAdapter[StoragePath, Loader]:
    """Make the adapter between a source of version directories and a manager."""
    return SourceAdapter(SavedModelPlatform(options or SavedModelOptions()).make_loader)
