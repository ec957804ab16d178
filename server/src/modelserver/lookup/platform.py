"""LookupPlatform and LookupLoader: a directory with one table file becomes a Predictor."""

import os

from modelserver.core.servable import ServableId
from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.lookup.predictor import LookupPredictor
from modelserver.lookup.table_file import is_cut_short, is_text_table, read_table, table_names


class LookupPlatform:
    """The `Platform` of lookup tables. Has no state."""

    def missing_files(self, path: StoragePath) -> list[str]:
        """Say whether exactly one table file is there, to its end as far as that can be told."""
        names = table_names(path.files)
        if not names:
            return ["a .npz, .csv or .tsv file"]
        if len(names) > 1:
            return [f"one table file instead of {', '.join(names)}"]
        with path.open(names[0]) as file:
            return [f"the rest of {names[0]}"] if is_cut_short(file, names[0]) else []

    def must_settle(self, name: str) -> bool:
        """Whether it is a table in text form: that may end after any line."""
        return is_text_table(name)

    def make_loader(self, id: ServableId, path: StoragePath) -> "LookupLoader":
        """Build the Loader of the table in `path`."""
        del id
        return LookupLoader(path.path)


class LookupLoader:
    """The `Loader` of the one table file in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._predictor: LookupPredictor | None = None

    def load(self) -> None:
        """Read the table into memory."""
        names = table_names(os.listdir(self._directory))
        if len(names) != 1:
            raise InvalidArgumentError(
                f"{self._directory} needs exactly one .npz, .csv or .tsv file, has {names}"
            )
        self._predictor = LookupPredictor(read_table(os.path.join(self._directory, names[0])))

    def unload(self) -> None:
        """Let go of the table."""
        self._predictor = None

    def servable(self) -> LookupPredictor:
        """Return the `Predictor`."""
        if self._predictor is None:
            raise FailedPreconditionError(f"{self._directory} is not loaded")
        return self._predictor
