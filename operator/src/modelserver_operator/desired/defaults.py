"""Defaults: what a ModelServer gets where it does not say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator was installed with. A new default changes no pod that runs already.

    `image_pull_policy` empty leaves it to Kubernetes. `operator_namespace` is whence the operator
    asks pods for their reports, empty when it runs outside the cluster.
    """

    server_image: str
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    operator_namespace: str = ""
