"""Lookup tables: the platform `lookup` serves a vocabulary or an embedding table, without a
framework.

A version directory holds one table file; files of other kinds beside it are ignored.

`.npz`
    Arrays `keys` (one dimension; integers or strings) and `values` (numbers, one entry or array for
    each key). Without `values` it is a vocabulary. Pickled (object) arrays are refused.
`.csv`, `.tsv`
    UTF-8, one row a line, no header line, a newline after the last row. The first column is the
    key, always a string; the others are numbers, the same count in each row. With one column it is
    a vocabulary. In `.csv` a field may be quoted with `"`; in `.tsv` no character but tab and
    newline is special.

The value of a vocabulary's key is its row number, from 0. Keys must be unique.

The signature `serving_default` takes `keys` [n] and gives `found` [n] and `values` [n, …]: where a
key is missing, `found` is False and the value is zeros, or -1 in a vocabulary.
"""

from collections.abc import Mapping

from modelserver.lookup.platform import LookupPlatform

__all__ = ["LookupPlatform", "platform"]


def platform(options: Mapping[str, object]) -> LookupPlatform:
    """Make the platform; the entry point. It has no options."""
    del options
    return LookupPlatform()
