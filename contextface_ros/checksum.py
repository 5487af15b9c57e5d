"""SHA-256 of a file, remembered while the file stays the same.

Hashing 98 MB of base weights takes a part of a second, gigabytes take many: too long for each
start of a robot. So a hash is kept in the user's cache under the file's path, size and time of
change. `models verify` recomputes all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from contextface_ros.folders import user_cache

_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read now. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, from the user's cache if it has not changed since. Raises OSError."""
    path = path.resolve()
    stat = path.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    cache = _read_cache()
    entry = cache.get(str(path))
    if isinstance(entry, list) and len(entry) == 3 and entry[:2] == state:
        return str(entry[2])
    digest = sha256(path)
    _write_cache({**cache, str(path): [*state, digest]})
    return digest


def _cache_file() -> Path:
    return user_cache() / "checksums.json"


def _read_cache() -> dict[str, object]:
    try:
        cache = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or cut short: hash again
        return {}
    return cache if isinstance(cache, dict) else {}


def _write_cache(cache: dict[str, object]) -> None:
    # A robot's disk may be read-only: then every start hashes, which is slow but right.
    with contextlib.suppress(OSError):
        target = _cache_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = {path: entry for path, entry in cache.items() if Path(path).exists()}
        # Two processes that start together each write a file of their own, and neither ever
        # reads half of one.
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        temporary.replace(target)
