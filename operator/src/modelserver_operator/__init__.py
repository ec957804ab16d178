"""The operator that reconciles ModelServer resources."""

__version__ = "0.1.0"
