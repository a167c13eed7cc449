"""Files that are whole or absent: each is written under a temporary name, then renamed."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well.

    The temporary name keeps the suffix of `path`, since some writers choose the format by it. If
    the block raises, the temporary file is removed and `path` stays as it was.

    Args:
        path: The file to write. Its folder must exist.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner may read; give them the usual permissions.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_leftover(path: str | os.PathLike) -> bool:
    """Return whether a file is what a process leaves that is killed inside of `atomic_path`."""
    name = Path(path).name
    return name.startswith(".") and ".partial" in name
