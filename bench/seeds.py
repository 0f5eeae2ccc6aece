"""Named random streams: a seed is the hash of the coordinates it belongs to."""

import hashlib

Coordinate = str | int


def derive(*coordinates: Coordinate) -> int:
    """Hash coordinates into a 63-bit seed.

    Two streams are equal exactly when their coordinates are; methods that must see the same
    draws share coordinates that do not name the method (common random numbers).
    """
    path = "\x1f".join(f"{type(part).__name__}:{part}" for part in coordinates)
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) >> 1
