"""Amounts of memory as people write them, in bytes. Pure."""

from __future__ import annotations

import re

from procession.errors import ConfigError

UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})"


def size(value: int | str, what: str = "size") -> int:
    """An amount of memory as whole bytes: a number of bytes, or text such as "512MB" (millions) or "1.5GiB" (2**30).

    >>> size("512MB"), size("1.5GiB"), size(4096)
    (512000000, 1610612736, 4096)

    Raises:
        ConfigError: not a size, or negative.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(_SIZE, value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ConfigError(f'{what} {value!r} is not a size; write bytes as a number, or text such as "512MB" or "2GiB"')
    return round(float(found[1]) * UNITS[found[2]])
