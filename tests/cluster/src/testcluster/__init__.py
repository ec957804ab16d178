"""A real Kubernetes cluster on this machine, for tests and for trying things out.

The components are built from the Go module proxy and cached; a node needs root and a few Debian
packages besides. Nothing is fetched from an image registry, everything listens on 127.0.0.1 or in
network namespaces of the cluster's own, and all of it ends with whoever started it.
"""
