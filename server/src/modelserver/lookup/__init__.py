"""Lookup tables: the platform `lookup` serves a vocabulary or an embedding table, without a
framework.

A version directory holds one table file; files of other kinds beside it are ignored.

`.npz`
    Arrays `keys` (one dimension; integers or strings) and `values` (numbers, one entry or array for
    each key). Without `values` it is a vocabulary. Pickled (object) arrays are refused.
`.csv`, `.tsv`
    UTF-8, one row a line, no header line. The first column is the key, always a string; the others
    are numbers, the same count in each row, and are held as float32: integers that it cannot hold
    are refused, and need an `.npz`. With one column it is a vocabulary. In `.csv` a field may be
    quoted with `"`; in `.tsv` no character but tab and newline is special.

An `.npz` is loaded once it is there to its end. A text shows its end nowhere: it is loaded once it
has not changed from one poll to the next. Where a copy may stall for longer than that, copy it
under another name and rename it.

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
