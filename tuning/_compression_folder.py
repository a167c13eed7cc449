"""The folder of a compression: what is written, when, and how a killed one goes on."""

import contextlib
import datetime
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.errors import RunError
from recipes.files import atomic_path, is_leftover, read_json, write_json
from tuning.accuracy_aware import CANDIDATES
from tuning.compression_report import FILES, CompressionReport

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData

FORMAT_VERSION = 1
FINAL = "model.tflite"
_PLAN, _SENSITIVITY, _RECIPE, _LOG = "plan.json", "sensitivity.json", "replay.json", "compress.log"


class CompressionFolder:
    """Holds candidates, each of which is whole or absent, and what was measured of them.

    Args:
        path: The folder; made if it is missing.
        arguments: Those of `compress` that decide what is found.
        model: The classifier.
        data: Its images.

    Attributes:
        identity: `model_sha256`, `data_fingerprint` and `validation_sha256`.

    Raises:
        RunError: If it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, arguments: dict[str, Any], model, data):
        self.path = path
        self.identity = {
            "model_sha256": model_digest(model),
            "data_fingerprint": data.fingerprint,
            "validation_sha256": validation_digest(data),
        }
        plan = {"format_version": FORMAT_VERSION, **self.identity, **arguments}
        with self._writing():
            if (path / _PLAN).exists():
                self._compare(plan)
                return
            if path.exists() and not (path.is_dir() and all(map(_is_of_a_start, path.iterdir()))):
                raise RunError(f"{path} exists and is no folder of compress; choose another one")
            (path / "candidates").mkdir(parents=True, exist_ok=True)
            write_json(path / _PLAN, plan)

    def _compare(self, plan):
        try:
            found = read_json(self.path / _PLAN)
        except ValueError as error:
            raise RunError(f"cannot read {self.path / _PLAN}: {error}") from error
        for name, value in plan.items():
            if found.get(name) != value:
                raise RunError(
                    f"{self.path} holds another compression: {name} was {found.get(name)!r}, "
                    f"received {value!r}; choose another folder"
                )

    def finished(self, threads: int) -> bool:
        """Return whether there is nothing left to do.

        The ladder was climbed to its end, nothing failed, latency was measured with so many
        threads, the report is written, and the file that it chose is there.
        """
        if not (self.path / FILES[0]).exists():
            return False
        report = CompressionReport.load(self.path)
        failed = any(row["status"] == "failed" for row in report.candidates)
        if failed or not report.facts.get("complete") or report.facts.get("threads") != threads:
            return False
        return not report.chosen or _is_whole(report.path, report.row(report.chosen))

    def file(self, name: str) -> Path:
        """Return the path of a candidate's file."""
        return self.path / "candidates" / f"{name}.tflite"

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the candidates that are done, in the order of the ladder."""
        rows = {}
        for name in CANDIDATES:
            path = self.file(name).with_suffix(".json")
            if not path.exists():
                continue
            row = read_json(path)
            if row["status"] != "measured" or _is_whole(self.file(name), row):
                rows[name] = row
        return rows

    def write_row(self, row: dict[str, Any]) -> None:
        """Note that a candidate is done; its file has to be there already."""
        with self._writing():
            write_json(self.file(row["name"]).with_suffix(".json"), row)

    def sensitivity(self) -> dict[str, Any]:
        """Return what is known of single operations; empty at first."""
        path = self.path / _SENSITIVITY
        return read_json(path) if path.exists() else {}

    def write_sensitivity(self, content: dict[str, Any]) -> None:
        """Keep what is known of single operations."""
        with self._writing():
            write_json(self.path / _SENSITIVITY, content)

    def finish(self, report: CompressionReport) -> None:
        """Give the chosen file its name, and write the report, `report.json` last."""
        with self._writing():
            if report.chosen:
                with atomic_path(self.path / FINAL) as temporary:
                    shutil.copyfile(self.file(report.chosen), temporary)
                write_json(self.path / _RECIPE, report.recipe)
            else:
                for name in (FINAL, _RECIPE):
                    (self.path / name).unlink(missing_ok=True)
            report.write()

    @contextlib.contextmanager
    def log(self, progress: bool) -> Iterator[Callable]:
        """Give a function that writes a line to `compress.log` and, if asked for, to the screen.

        With `passing=True` a line is shown only while it holds, and not kept.
        """
        from rich.console import Console

        console = Console(stderr=True, quiet=not progress, highlight=False)
        with (
            self._writing(),
            open(self.path / _LOG, "a", encoding="utf-8") as file,
            console.status("compressing") as status,
        ):

            def say(line: str, passing: bool = False) -> None:
                status.update(line)
                if passing:
                    return
                now = datetime.datetime.now(datetime.timezone.utc)
                file.write(f"{now:%Y-%m-%d %H:%M:%S} {line}\n")
                file.flush()
                console.print(line, markup=False, soft_wrap=True)

            yield say

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror or error}") from error


def _is_whole(path, row):
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == row.get("sha256")


def _is_of_a_start(path):
    """Return whether a file or folder is what a call leaves that is killed before the plan."""
    if path.name == "candidates":
        return path.is_dir() and not any(path.iterdir())
    return is_leftover(path)


def model_digest(model: "keras.Model") -> str:
    """Return SHA-256 over the weights of a model and the kinds of its layers."""
    digest = hashlib.sha256()
    for layer in model.layers:
        digest.update(f"{type(layer).__name__} {layer.name}\n".encode())
    for array in model.get_weights():
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def validation_digest(data: "ImageData") -> str:
    """Tell validation splits apart: by their labels and images.

    Images that are not at hand are those of the data, whose fingerprint goes by their files.
    """
    split = data.splits["validation"]
    digest = hashlib.sha256(np.ascontiguousarray(split.labels).tobytes())
    if split.images is not None:
        digest.update(np.ascontiguousarray(split.images))
    else:
        digest.update(data.fingerprint.encode())
    return digest.hexdigest()
