"""What tests of several parts begin with."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine and what else it does, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of a server that speaks S3's protocol, with its objects in memory, on 127.0.0.1.

    It takes any credentials. Nothing points to it: a test gives its address (AWS_ENDPOINT_URL).
    """
    from moto.server import ThreadedMotoServer  # seconds to import

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
