"""Plug-ins of every kind, each under a hundred lines, on modelserver's public API alone.

| file | plug-in | |---|---| | `manifest_source.py` | a Source: versions come from a JSON file
instead of a directory's children | | `rollback_policy.py` | an AspiredVersionPolicy: keeps the
previous version loaded, so that a rollback takes no load | | `linear_model.py` | a servable and its
platform: a linear model in a JSON file, no TensorFlow | | `sharded_lookup.py` | one table over
several servables and managers, behind one client-side view | | `composite_model.py` | vocabulary →
model, as two independent servables and as one |
"""
