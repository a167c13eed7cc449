"""Reading and writing the small files of a run; each is whole or absent."""

import json
import os
from pathlib import Path
from typing import Any

from callbacks.files import atomic_path, is_leftover

__all__ = ["atomic_path", "is_leftover", "read_json", "write_json", "write_text"]


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
