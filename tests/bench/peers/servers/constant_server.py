"""The Rust transport answering every call with the same bytes. Usage: constant_server.py PORT
METHOD FILE [CERTIFICATE KEY]. With a certificate and its key, in PEM, it does so over TLS.
"""

import signal
import sys
from pathlib import Path

from modelserver_transport import Options, Transport

if __name__ == "__main__":
    port, method, file, *identity = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    options = Options(constant_answers={method: Path(file).read_bytes()})
    transport = Transport([f"127.0.0.1:{port}"], [], options=options)
    if identity:
        transport.set_tls(*(Path(name).read_bytes() for name in identity))
    transport.start()
    signal.sigwait({signal.SIGTERM})
    transport.stop(0)
