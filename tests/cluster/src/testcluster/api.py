"""The few questions that starting a cluster asks the API server, without a process for each."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 10


class Api:
    """Reads from the API server as the user of a kubeconfig written by `users.kubeconfig`."""

    def __init__(self, kubeconfig: Path) -> None:
        content = json.loads(kubeconfig.read_text())
        cluster = content["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._token: str = content["users"][0]["user"]["token"]
        self._tls = ssl.create_default_context(
            cadata=_decoded(cluster["certificate-authority-data"])
        )

    def answers(self, path: str) -> bool:
        """Whether GET gives 200 now."""
        try:
            self._get(path)
        except (OSError, ssl.SSLError):  # URLError and HTTPError are OSErrors
            return False
        return True

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at the path; None where there is none (404) or nobody answers."""
        try:
            parsed: dict[str, Any] = json.loads(self._get(path))
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise
        except OSError:
            return None
        return parsed

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(
            self._server + path, headers={"Authorization": f"Bearer {self._token}"}
        )
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls))
        with urllib.request.build_opener(*handlers).open(
            request, timeout=_TIMEOUT_SECONDS
        ) as answer:
            body: bytes = answer.read()
        return body


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode()
