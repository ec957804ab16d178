"""The type of what Kubernetes speaks."""

from typing import Any

JsonObject = dict[str, Any]
"""A JSON object as the API server sends and takes it: manifests and patches. Code that decides
something reads it into a dataclass first.
"""
