"""The few numbers that sum up a run, a measurement or an export, for the command line."""

from recipes.run import Run
from recipes.wording import counted


def run_summary(run: Run) -> dict:
    """Return the results of a finished run as one JSON-ready dictionary."""
    metrics = run.metrics
    test = metrics["test"] or {}
    return {
        "run": str(run.directory),
        "recipe": run.recipe.name,
        "epochs": metrics["epochs"],
        "selected_epoch": metrics["selected_epoch"],
        "train_seconds": metrics["train_seconds"],
        "parameters": metrics["parameters"],
        "temperature": metrics["temperature"]["value"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        "test_accuracy": test.get("accuracy"),
        "test_accuracy_interval": test.get("accuracy_interval"),
        "test_ece": test.get("ece"),
        "test_ece_uncalibrated": (metrics["test_uncalibrated"] or {}).get("ece"),
        "files": (run.export or {}).get("files", []),
        "report": str(run.path("report.html")),
    }


def run_rows(run: Run) -> list[tuple[str, str, str]]:
    """Return `(name, value, meaning)` rows for a finished run."""
    metrics = run.metrics
    split = "test" if metrics["test"] else "validation"
    judged = metrics[split]
    low, high = judged["accuracy_interval"]
    rows = [
        (
            f"{split} accuracy",
            f"{100 * judged['accuracy']:.1f} %",
            f"of {judged['images']:,} images; 95 % interval {100 * low:.1f} to {100 * high:.1f}",
        )
    ]
    calibration = f"ECE of 15 bins, at temperature {metrics['temperature']['value']:.2f}"
    if metrics["test"]:
        calibration += f"; {metrics['test_uncalibrated']['ece']:.3f} without it"
    rows.append(("calibration error", f"{judged['ece']:.3f}", calibration))
    rows.extend(_file_rows(run.export))
    trained = (
        f"{counted(metrics['epochs'], 'epoch')}, epoch {metrics['selected_epoch']} kept; "
        f"{metrics['parameters']:,} parameters"
    )
    return [*rows, ("training", f"{metrics['train_seconds']:.0f} s", trained)]


def _file_rows(export):
    """Return a row for each exported file, the plain float one as the measure of the others."""
    files = (export or {}).get("files", [])
    whole = next((file for file in files if file["quantization"] == "float32"), None)
    for file in files:
        meaning = (
            f"{file['quantization']}: accuracy {100 * file['accuracy']:.1f} %, "
            f"{file['latency_ms']['median']:.2f} ms an image on one thread"
        )
        if whole and file is not whole:
            meaning += f", {file['bytes'] / whole['bytes']:.2f} of the float32 bytes"
        yield file["file"], f"{file['bytes'] / 1000:.0f} kB", meaning


def export_rows(export: dict) -> list[tuple[str, str, str, str, str]]:
    """Return `(file, kB, accuracy, agreement, ms)` rows of an export."""
    return [
        (
            file["file"],
            f"{file['bytes'] / 1000:.1f}",
            f"{100 * file['accuracy']:.2f} %",
            f"{100 * file['agreement']:.2f} %",
            f"{file['latency_ms']['median']:.2f}",
        )
        for file in export["files"]
    ]
