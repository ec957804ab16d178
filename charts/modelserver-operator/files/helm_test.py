"""helm test: is the resource served, may the operator read it, and does one of its replicas lead?

Runs in the operator's image with its service account: NAMESPACES and LEASE come from the environment.
"""

import json
import os
import ssl
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE_SECONDS = 60


def get(path):
    request = urllib.request.Request(f"https://kubernetes.default.svc{path}")
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)


def check_resource():
    scopes = [f"namespaces/{name}/" for name in os.environ["NAMESPACES"].split(",") if name]
    for scope in scopes or [""]:
        get(f"/apis/modelserver.dev/v1alpha1/{scope}modelservers?limit=1")
        print(f"{scope}modelservers can be read")


def check_leader():
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{os.environ['POD_NAMESPACE']}/leases"
    lease = get(f"{leases}/{os.environ['LEASE']}")["spec"]
    age = (datetime.now(UTC) - datetime.fromisoformat(lease["renewTime"])).total_seconds()
    if not lease.get("holderIdentity") or age > lease["leaseDurationSeconds"]:
        raise RuntimeError(f"no replica leads; the lease was renewed {age:.0f} s ago")
    print(f"{lease['holderIdentity']} leads")


def main():
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            check_resource()
            check_leader()
        except (OSError, RuntimeError, KeyError) as error:
            if time.monotonic() > deadline:
                sys.exit(f"The operator does not work: {error}")
            time.sleep(2)
        else:
            return


main()
