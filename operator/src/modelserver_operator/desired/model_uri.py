"""What a model's `uri` means within a pod: a path to read from, and the claim to mount for it."""

from modelserver_operator.api import ModelServer

CLAIMS_PATH = "/mnt/modelserver/claims"

_CLAIM_SCHEME = "pvc://"


def base_path(uri: str) -> str:
    """What the server is told to read: a path below the claim's mount, or the URI as it is."""
    if not uri.startswith(_CLAIM_SCHEME):
        return uri
    return f"{CLAIMS_PATH}/{uri.removeprefix(_CLAIM_SCHEME).rstrip('/')}"


def model_claims(server: ModelServer) -> tuple[str, ...]:
    """The claims that the models are in, each once, in alphabetical order."""
    return tuple(sorted({model.claim for model in server.spec.models} - {""}))
