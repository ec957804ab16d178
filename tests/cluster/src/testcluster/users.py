"""Who may talk to the API server: tokens, and a kubeconfig for each."""

import base64
import json
import secrets
from dataclasses import dataclass

NODES = 9
"""As many nodes can join one cluster."""


@dataclass(frozen=True)
class User:
    """A client of the API server that shows a token."""

    key: str
    """Names its kubeconfig."""
    name: str
    groups: str = ""


USERS = (
    User("admin", "admin", "system:masters"),
    User("controllers", "system:kube-controller-manager"),
    User("scheduler", "system:kube-scheduler"),
    User("proxy", "system:kube-proxy"),
    *(User(f"node{n}", f"system:node:node{n}", "system:nodes") for n in range(1, NODES + 1)),
)


def new_tokens() -> dict[str, str]:
    """A fresh token for each user, by its key."""
    return {user.key: secrets.token_hex(16) for user in USERS}


def token_file(tokens: dict[str, str]) -> str:
    """The API server's --token-auth-file: token, name, uid, groups."""
    return "".join(f"{tokens[user.key]},{user.name},{user.key},{user.groups}\n" for user in USERS)


def kubeconfig(server: str, ca: bytes, token: str) -> str:
    """A kubeconfig (JSON, which is YAML) for one user at https://SERVER."""
    authority = base64.b64encode(ca).decode()
    cluster = {"server": f"https://{server}", "certificate-authority-data": authority}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testcluster", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [
            {"name": "testcluster", "context": {"cluster": "testcluster", "user": "user"}}
        ],
        "current-context": "testcluster",
    }
    return json.dumps(content, indent=1)
