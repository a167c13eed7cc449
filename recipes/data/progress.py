"""Progress of a pass over many files."""

import sys
from collections.abc import Callable

Progress = Callable[[int, int], None]


class Bar:
    """Progress over all splits, told to a function, or shown where a person waits for it.

    Args:
        report: Called with the number of images done and to do. None: a bar on the error stream,
            if that is a terminal and there are thousands of files.
        total: Images to do.
    """

    _MANY = 2000

    def __init__(self, report: Progress | None, total: int):
        self.report = report
        self.total = total
        self.done = 0
        self.bar = None

    def __enter__(self):
        if self.report is None and self.total >= self._MANY and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self.bar = RichProgress(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("reading images", total=self.total)
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: int, _: int) -> None:
        """Tell how many images of the present split are done."""
        if self.report is not None:
            self.report(self.done + done, self.total)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + done)

    def finish(self, count: int) -> None:
        """Count a whole split as done."""
        self.done += count
