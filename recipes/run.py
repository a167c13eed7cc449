"""The run directory: what is written, when, and how a run resumes."""

import datetime
import json
import math
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import Recipe
from recipes.errors import NamesError, RunError
from recipes.files import is_leftover, read_json, write_json, write_text

if TYPE_CHECKING:
    from recipes.data import ImageData

FORMAT_VERSION = 1
# What environment.json says of a run that one device trains, and of those from before it said.
ONE_DEVICE = {"strategy": "none", "workers": 1, "replicas": 1}


class Run:
    """A run directory, as `train` writes it.

    Reading one needs no TensorFlow.

    Args:
        directory: An existing run directory.

    Attributes:
        directory: Its path.
        recipe: The resolved recipe.

    Raises:
        RunError: If there is no run, or one that another version wrote.

    Example:
        >>> run = Run("runs/demo")                                          # doctest: +SKIP
        >>> run.metrics["test"]["accuracy"]                                 # doctest: +SKIP
        0.906
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)
        if not self.directory.exists():
            raise RunError(f"no run directory at {self.directory}")
        if not self.directory.is_dir():
            raise RunError(f"{self.directory} is a file, expected a run directory")
        if not self.path("recipe.json").exists():
            raise RunError(f"{self.directory} is not a run directory: it has no recipe.json")
        self.recipe = Recipe.from_dict(self._read("recipe.json"))
        version = self.environment.get("format_version")
        if version != FORMAT_VERSION:
            raise RunError(
                f"{self.directory} was written in run format {version}, "
                f"this version reads format {FORMAT_VERSION}; train again into another folder"
            )

    @classmethod
    def create(
        cls, directory: str | os.PathLike, recipe: Recipe, data: dict, environment: dict
    ) -> "Run":
        """Make a new run directory; call `check_output` first.

        Raises:
            RunError: If the folder cannot be written.
        """
        directory = Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "checkpoints").mkdir(exist_ok=True)
            # recipe.json last: a folder that has it is a run with all three.
            write_json(directory / "environment.json", environment)
            write_json(directory / "data.json", data)
            write_json(directory / "recipe.json", recipe.to_dict())
        except OSError as error:
            raise RunError(f"cannot write to {directory}: {error.strerror}") from error
        return cls(directory)

    def path(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.directory / name

    def _read(self, name: str) -> Any:
        try:
            return read_json(self.path(name))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.path(name)}: {error}") from error

    @property
    def environment(self) -> dict:
        """Versions, machine, seed, commit."""
        return self._read("environment.json")

    @property
    def data(self) -> dict:
        """Source, counts, class names, fingerprint."""
        return self._read("data.json")

    @property
    def metrics(self) -> dict | None:
        """The judged result, or `None` while the run is unfinished."""
        return self._read("metrics.json") if self.finished else None

    def load_data(self) -> "ImageData":
        """Read the images of the run again.

        Raises:
            RunError: If they are no longer those that the run began with.
            DataError: If they came in memory, or can no longer be read.
        """
        from recipes.data import load_data
        from recipes.data.image_data import reload_arguments

        description = self.data
        changed = f"the images of {description['source']} are no longer those of {self.directory}"
        try:
            data = load_data(**reload_arguments(description))
        except NamesError as error:
            raise RunError(f"{changed}: they have other classes") from error
        if data.fingerprint != description["fingerprint"]:
            raise RunError(
                f"{changed}: fingerprint {data.fingerprint[:12]}, "
                f"expected {description['fingerprint'][:12]}"
            )
        return data

    @property
    def export(self) -> dict | None:
        """What was exported and how it measured, or `None` before that."""
        return self._read("export.json") if self.path("export.json").exists() else None

    @property
    def finished(self) -> bool:
        """Whether the model was trained and judged to the end."""
        return self.path("metrics.json").exists() and self.path("model.keras").exists()

    @property
    def history(self) -> list[dict]:
        """One dictionary an epoch."""
        path = self.path("history.jsonl")
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def write_history(self, epochs: list[dict]) -> None:
        """Write all epochs; the file is small, and so never holds half a line."""
        lines = [json.dumps(_without_nan(epoch), allow_nan=False) + "\n" for epoch in epochs]
        write_text(self.path("history.jsonl"), "".join(lines))


def check_output(directory: str | os.PathLike, *, resume: bool, source: Any = None) -> None:
    """Refuse an output folder that cannot be used, before any work is done.

    Args:
        directory: Where the run is to be written.
        resume: Whether an unfinished run there is to go on.
        source: Of the images, or the `ImageData`; no run may lie among them.

    Raises:
        RunError: One line that says what is in the way.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise RunError(f"{directory} is a file, expected a folder for the run")
    if (directory / "recipe.json").exists():
        run = Run(directory)
        if resume:
            return
        command = f"recipes train --resume {directory}"
        if not run.finished:
            raise RunError(
                f"{directory} holds an interrupted run; go on with: {command} "
                "(resume=True in Python)"
            )
        export = ""
        if run.export is None and run.data.get("reload"):
            export = f", or export it with: recipes export {directory}"
        raise RunError(f"{directory} already holds a finished run; choose another folder{export}")
    if resume:
        raise RunError(f"there is no run to resume at {directory}")
    refuse_among_images(directory, source)
    if directory.exists() and not _is_of_a_killed_start(directory):
        raise RunError(f"{directory} exists, is not empty and is not a run; choose another folder")
    parent = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"cannot write to {directory}: {parent} is not a writable folder")


def refuse_among_images(directory: str | os.PathLike, source: Any) -> None:
    """Raise `RunError` if a folder to write to lies among the images of a source.

    It would be taken for a class there, and the images for others than they were.
    """
    from recipes.data.sources import BUNDLED

    if hasattr(source, "settings"):
        # An `ImageData` knows the folder that it was read from.
        source = (source.settings.get("reload") or {}).get("source")
    if not isinstance(source, (str, os.PathLike)) or source in BUNDLED:
        return
    images = Path(source).expanduser()
    if images.is_dir() and Path(directory).resolve().is_relative_to(images.resolve()):
        raise RunError(f"{directory} lies in the folder of images {source}; choose another one")


def _is_of_a_killed_start(directory):
    """Return whether a folder holds nothing but what `Run.create` leaves if it is killed."""
    ours = set()
    try:
        # The first file that is written, before data.json.
        if "format_version" in read_json(directory / "environment.json"):
            ours = {"environment.json", "data.json"}
    except (OSError, TypeError, ValueError):
        pass
    return all(
        path.name in ours
        or is_leftover(path)
        or (path.name == "checkpoints" and path.is_dir() and not any(path.iterdir()))
        for path in directory.iterdir()
    )


def new_environment(seed: int, precision: str, devices: dict | None = None) -> dict:
    """Return what environment.json records when a run starts.

    Args:
        seed: Of the training.
        precision: Name of the dtype policy.
        devices: What trains: strategy, workers and replicas; `None` for one device.
    """
    from recipes.hardware import describe_machine, package_versions

    versions = package_versions()
    return {
        "format_version": FORMAT_VERSION,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": versions.pop("python"),
        "versions": versions,
        "machine": describe_machine(),
        "seed": seed,
        "precision": precision,
        "devices": devices or ONE_DEVICE,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of this package's own checkout, if it runs from one."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _without_nan(value: Any) -> Any:
    """Return `value` with numbers that are not finite as None, which JSON can hold."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
