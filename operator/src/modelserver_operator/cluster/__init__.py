"""The Kubernetes API: a port of a few methods on raw paths, and the one real client behind it."""
