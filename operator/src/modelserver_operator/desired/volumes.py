"""The volumes of a pod, and where the server's container sees them.

Which volumes there are is cold: a pod's volumes cannot change while it runs.
"""

from hashlib import sha256
from typing import NamedTuple

from modelserver_operator.api import Cache, ModelServer, SecretKey
from modelserver_operator.desired.labels import config_map_name
from modelserver_operator.desired.model_uri import CLAIMS_PATH, model_claims
from modelserver_operator.desired.quantity import whole_units
from modelserver_operator.json_types import JsonObject

CONFIG_DIRECTORY = "/etc/modelserver/config"
CONFIG_FILE = "config.json"
CACHE_DIRECTORY = "/var/cache/modelserver"

_CREDENTIALS_DIRECTORY = "/etc/modelserver/credentials"


class MountedVolume(NamedTuple):
    """A pod's volume, and the container's view of it."""

    volume: JsonObject
    mount: JsonObject


def mounted_volumes(server: ModelServer) -> list[MountedVolume]:
    """Every volume of the pods of `server`."""
    credentials = server.spec.credentials_secret_ref
    return [
        _config(server.metadata.name),
        *(_claim(claim) for claim in model_claims(server)),
        *([_credentials(credentials)] if credentials else []),
        _cache(server.spec.cache),
        MountedVolume({"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"}),
    ]


def credentials_env(credentials: SecretKey | None) -> list[JsonObject]:
    """Tells Google's libraries where the mounted key file is."""
    if credentials is None:
        return []
    path = f"{_CREDENTIALS_DIRECTORY}/{credentials.key}"
    return [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": path}]


def cache_env(cache: Cache | None) -> list[JsonObject]:
    """Tells the server where the cache is, and how many bytes it may take.

    Variables and no flags: a server image that is older than them ignores them. A claim has the
    room that it has.
    """
    limit = whole_units(cache.size_limit) if cache and cache.size_limit is not None else None
    return [
        {"name": "MODELSERVER_CACHE_DIR", "value": CACHE_DIRECTORY},
        *([] if limit is None else [{"name": "MODELSERVER_CACHE_SIZE_LIMIT", "value": str(limit)}]),
    ]


def _config(name: str) -> MountedVolume:
    # The directory, not the file by subPath: that one would never be refreshed.
    return MountedVolume(
        {"name": "config", "configMap": {"name": config_map_name(name)}},
        {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
    )


def _claim(claim: str) -> MountedVolume:
    # A claim's name may be longer than a volume's may be, and have dots.
    name = f"claim-{sha256(claim.encode()).hexdigest()[:10]}"
    return MountedVolume(
        {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
        {"name": name, "mountPath": f"{CLAIMS_PATH}/{claim}", "readOnly": True},
    )


def _credentials(credentials: SecretKey) -> MountedVolume:
    # Optional: pods start without it, and say what they cannot read.
    return MountedVolume(
        {"name": "credentials", "secret": {"secretName": credentials.name, "optional": True}},
        {"name": "credentials", "mountPath": _CREDENTIALS_DIRECTORY, "readOnly": True},
    )


def _cache(cache: Cache | None) -> MountedVolume:
    # There without gs:// models, too, so that adding the first one restarts nothing.
    mount = {"name": "cache", "mountPath": CACHE_DIRECTORY}
    if cache is not None and cache.claim_name:
        source = {"claimName": cache.claim_name}
        return MountedVolume({"name": "cache", "persistentVolumeClaim": source}, mount)
    limit = {} if cache is None else {"sizeLimit": str(cache.size_limit)}
    return MountedVolume({"name": "cache", "emptyDir": limit}, mount)
