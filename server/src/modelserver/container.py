"""The command `modelserver-container`: what the image starts.

TensorFlow Serving's image takes the model from MODEL_NAME and MODEL_BASE_PATH and appends the flags
it is given; so does ours, so that who comes from there changes the image and nothing else.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from modelserver import cli
from modelserver.tools import TOOLS

_STORAGE_FLAGS = {
    "MODELSERVER_CACHE_DIR": "cache_dir",
    "MODELSERVER_CACHE_SIZE_LIMIT": "cache_size_limit",
    "MODELSERVER_GCS_ANONYMOUS": "gcs_anonymous",
}
_NAME_MODELS = ("--model_config_file", "--config_document")


def main() -> int:
    """Serve as the environment and the command line say. Returns `modelserver`'s exit code."""
    return cli.main(container_arguments(os.environ, sys.argv[1:]))


def container_arguments(environment: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    """Return the flags of `modelserver`: the environment's model first, so that `argv` overrides.

    The model is at MODEL_BASE_PATH/MODEL_NAME. Where a file names the models, or MODEL_BASE_PATH is
    not set, the environment names none. A tool gets its arguments as they are.
    """
    if argv and argv[0] in TOOLS:
        return list(argv)
    return [*_storage(environment), *_model(environment, argv), *argv]


def _storage(environment: Mapping[str, str]) -> list[str]:
    """As variables rather than flags, so that an older image ignores what it does not know."""
    return [
        f"--{flag}={environment[name]}"
        for name, flag in _STORAGE_FLAGS.items()
        if environment.get(name)
    ]


def _model(environment: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    base_path = environment.get("MODEL_BASE_PATH", "")
    if not base_path or any(argument.startswith(_NAME_MODELS) for argument in argv):
        return []
    name = environment.get("MODEL_NAME", "") or "model"
    return [f"--model_name={name}", f"--model_base_path={base_path}/{name}"]
