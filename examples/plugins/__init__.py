"""Plug-ins of every kind, each under a hundred lines, on modelserver's public API alone.

- `manifest_source`: a Source; versions come from a JSON file instead of a directory's children
- `rollback_policy`: an AspiredVersionPolicy; keeps the previous version loaded for a rollback
- `linear_model`: a servable and its platform; a linear model in a JSON file, no TensorFlow
- `sharded_lookup`: one table over several servables and managers, behind one client-side view
- `independent_servables`: vocabulary and model as two servables
- `composite_model`: vocabulary and model as one servable
"""
