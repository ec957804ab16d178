"""What a quantity amounts to: Kubernetes writes 10Gi, 1.5G, 500m, 2e3 or 7."""

import re
from decimal import Decimal
from fractions import Fraction
from math import ceil

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_BINARY = {f"{prefix}i": Fraction(1024**power) for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {prefix: Fraction(1000**power) for power, prefix in enumerate("kMGTPE", start=1)}
_SMALL = {prefix: Fraction(1, 1000**power) for power, prefix in enumerate("mun", start=1)}
_FACTORS = {**_BINARY, **_DECIMAL, **_SMALL}

_LARGEST = 2**63 - 1
# Beyond it every number that fits into a quantity's 64 characters is above the largest amount, or
# below one, as it is with the exponent itself.
_FAR = 100


def whole_units(quantity: int | str) -> int | None:
    """The amount in whole units, such as bytes, as Kubernetes takes it: parts of a unit count as
    one, and 2**63 - 1 is the most. None for a text that is no quantity.
    """
    read = _FORM.fullmatch(str(quantity))
    if read is None:
        return None
    exponent = max(-_FAR, min(int(read["exponent"] or 0), _FAR))
    factor = _FACTORS[read["suffix"]] if read["suffix"] else Fraction(10) ** exponent
    return min(ceil(Fraction(Decimal(read["number"])) * factor), _LARGEST)
