"""Keeps the chatter of native libraries off the screen, and shows it when it matters."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def captured_output(understood: type[Exception] | tuple = ()) -> Iterator[None]:
    """Hold back all that the block writes to standard output and error; show it if it raises.

    File descriptors 1 and 2 are redirected, since the TFLite converter and the interpreter write
    from C++, past `sys.stdout` and `sys.stderr`. Not thread-safe: what other threads write
    meanwhile is held back as well.

    Args:
        understood: Kinds of exceptions that say enough themselves: for them nothing is shown.

    Example:
        >>> with captured_output():
        ...     _ = os.system("echo chatter")
    """
    if "tensorflow" in sys.modules:
        # Its logger takes the standard error stream of the moment it is first used, for good.
        sys.modules["tensorflow"].get_logger()
    try:
        saved = os.dup(1), os.dup(2)
    except OSError:  # Started without standard output (a service): there is nothing to keep clean.
        yield
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as held:
        try:
            _flush()
            os.dup2(held.fileno(), 1)
            os.dup2(held.fileno(), 2)
            try:
                # In notebooks and under test runners Python's streams are not the descriptors.
                with contextlib.redirect_stdout(held), contextlib.redirect_stderr(held):
                    yield
            finally:
                held.flush()
                _flush()
                os.dup2(saved[0], 1)
                os.dup2(saved[1], 2)
                _remove_handlers(held)
        except understood:
            raise
        except BaseException:
            held.seek(0)
            sys.stderr.write(held.read())
            raise
        finally:
            for descriptor in saved:
                os.close(descriptor)


def _remove_handlers(stream) -> None:
    """Take off the root logger what would go on writing to a stream that is about to be closed.

    absl, by which TF-Lite warns, gives a root logger without handlers one on standard error.
    """
    for handler in list(logging.root.handlers):
        if getattr(handler, "stream", None) is stream:
            logging.root.removeHandler(handler)


def _flush() -> None:
    """Empty Python's own buffers, so that each text lands on the side it was written for."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
