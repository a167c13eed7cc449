"""What a run directory holds, read leniently: what is missing is said, not raised."""

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from callbacks import calibration
from recipes.errors import RunError
from recipes.files import read_json
from recipes.run import FORMAT_VERSION


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified image: pixels uint8 (height, width, channels), names, probability."""

    pixels: np.ndarray
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Outcomes:
    """What became of each test image, in the order of the images; every array is `(images,)`.

    Attributes:
        labels: True classes, integers.
        predicted: Predicted classes, integers.
        correct: Whether the two agree.
        nll: −ln(probability given to the true class), nats.
        brier: Squared distance of the probabilities from the truth, 0 to 2.
    """

    labels: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    nll: np.ndarray
    brier: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Outcomes":
        """Judge each image by itself.

        Args:
            probabilities: Shape `(images, classes)`.
            labels: True classes, shape `(images,)`.

        Raises:
            ValueError: If they cannot be used.

        Example:
            >>> found = Outcomes.of(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([1, 1]))
            >>> found.correct.tolist(), found.brier.round(2).tolist()
            ([False, True], [0.5, 0.08])
        """
        probabilities, labels = calibration.check_predictions(probabilities, labels)
        predicted = probabilities.argmax(axis=1)
        true = probabilities[np.arange(len(labels)), labels]
        return cls(
            labels=labels,
            predicted=predicted,
            correct=predicted == labels,
            nll=-np.log(np.maximum(true, calibration.PROBABILITY_FLOOR)),
            brier=np.square(probabilities).sum(axis=1) - 2 * true + 1,
        )


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run directory; a part that is missing is empty or `None`.

    Attributes:
        directory: The run directory.
        recipe: recipe.json.
        environment: environment.json.
        data: data.json.
        history: history.jsonl, one dictionary an epoch.
        metrics: metrics.json, or `None` while the run is unfinished.
        export: export.json, or `None` where nothing was exported.
        mistakes: The most confident mistakes on the test images.
        uncalibrated: Reliability table of the test images before temperature scaling, or `None`.
        outcomes: What became of each test image, or `None`.
        findings: What the curves of the training show: `name`, `severity`, `message`, `advice`.
        notes: What is missing or unreadable, in words.
    """

    directory: Path
    recipe: dict
    environment: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    metrics: dict | None = None
    export: dict | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    uncalibrated: dict | None = None
    outcomes: Outcomes | None = None
    findings: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def judged(self) -> tuple[str, dict] | None:
        """The split whose numbers the report leads with, and those: test, else validation."""
        for name in ("test", "validation"):
            if self.metrics and self.metrics.get(name):
                return name, self.metrics[name]
        return None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, as far as they are known."""
        if self.data.get("class_names"):
            return list(self.data["class_names"])
        return [row["name"] for row in self.judged[1]["per_class"]] if self.judged else []

    @property
    def epochs_planned(self) -> int | None:
        """Number of epochs that the recipe asks for."""
        return self.recipe.get("training", {}).get("epochs")


def read_run(directory: str | os.PathLike) -> RunFiles:
    """Read what there is in a run directory.

    Raises:
        RunError: If it is not a run directory, or of another format version.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunError(f"no run directory at {directory}")
    if not (directory / "recipe.json").exists():
        raise RunError(f"{directory} is not a run directory: it has no recipe.json")
    notes: list[str] = []
    recipe = _read(directory / "recipe.json", notes)
    if recipe is None:
        raise RunError(f"cannot read {directory / 'recipe.json'}")
    environment = _read(directory / "environment.json", notes) or {}
    version = environment.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise RunError(
            f"{directory} was written in run format {version}, "
            f"this version reads format {FORMAT_VERSION}"
        )
    data = _read(directory / "data.json", notes) or {}
    metrics = _read(
        directory / "metrics.json",
        notes,
        "the run is unfinished: training has not ended yet, or was interrupted",
    )
    if metrics and not metrics.get("test"):
        notes.append("there are no test images: the numbers are those of the validation images")
    names = data.get("class_names") or []
    uncalibrated = ((metrics or {}).get("test_uncalibrated") or {}).get("reliability")
    mistakes, outcomes = [], None
    if metrics and metrics.get("test"):
        mistakes, table, outcomes = _read_predictions(directory / "predictions.npz", names, notes)
        uncalibrated = uncalibrated or table
    return RunFiles(
        directory=directory,
        recipe=recipe,
        environment=environment,
        data=data,
        history=_read_history(directory / "history.jsonl", notes),
        metrics=metrics,
        export=_read(directory / "export.json", notes, "the model has not been exported to LiteRT")
        if metrics
        else None,
        mistakes=mistakes,
        uncalibrated=uncalibrated,
        outcomes=outcomes,
        notes=notes,
    )


def _read(path: Path, notes: list[str], absent: str | None = None) -> dict | None:
    """Read a JSON object; when that fails, return None and add a line to the notes."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        notes.append(f"{absent or 'a file is missing'} (no {path.name})")
        return None
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        notes.append(f"{path.name} cannot be read")
        return None
    return content


def _read_history(path: Path, notes: list[str]) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        notes.append("no epoch has ended yet (no history.jsonl)")
        return []
    except (OSError, ValueError):
        notes.append("history.jsonl cannot be read")
        return []
    epochs = []
    for line in lines:
        try:
            epoch = json.loads(line)
            epochs.append({**epoch, "epoch": int(epoch["epoch"])})
        except (ValueError, TypeError, KeyError):
            notes.append(f"history.jsonl is damaged after epoch {len(epochs)}")
            break
    return epochs


def _read_predictions(
    path: Path, names: list[str], notes: list[str]
) -> tuple[list, dict | None, Outcomes | None]:
    """Return the mistakes, the reliability table before calibration, and what became of each."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            probabilities, labels = arrays["probabilities"], arrays["labels"]
            pairs = zip(arrays["mistake_indices"], arrays["mistake_images"], strict=True)
            predicted = probabilities.argmax(axis=1)
            mistakes = [
                Mistake(
                    pixels=np.ascontiguousarray(pixels, np.uint8),
                    true=_name(names, labels[index]),
                    predicted=_name(names, predicted[index]),
                    probability=float(probabilities[index].max()),
                )
                for index, pixels in pairs
            ]
            table = calibration.reliability_bins(arrays["uncalibrated"], labels)
            plain = {
                name: [None if value != value else value for value in values.tolist()]
                for name, values in table.items()
            }
            return mistakes, plain, Outcomes.of(probabilities, labels)
    except FileNotFoundError:
        notes.append("the predictions are missing, and with them the mistakes (no predictions.npz)")
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        notes.append("predictions.npz cannot be read")
    return [], None, None


def _name(names: list[str], index: int) -> str:
    return names[index] if index < len(names) else f"class {index}"
