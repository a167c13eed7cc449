"""The report of a run: one page that needs nothing else, and the same as Markdown and JSON."""

import dataclasses
import os
from pathlib import Path

from recipes.errors import RunError
from recipes.evaluation.markdown import markdown_report
from recipes.evaluation.page import document, join, tag
from recipes.evaluation.report_json import json_report
from recipes.evaluation.run_files import RunFiles, read_run
from recipes.evaluation.sections import SECTIONS, lead
from recipes.files import write_json, write_text


def write_report(run_directory: str | os.PathLike) -> Path:
    """Write `report.html`, `report.md` and `report.json` from the files of a run directory.

    The page holds its own style sheet, charts and pictures, and asks nothing of a network. Only
    recipe.json must be there: of anything else that is missing, as in an interrupted run, the
    report says so and shows the rest. In the JSON every number has its definition and the number
    of images behind it. The same files give the same bytes.

    Args:
        run_directory: As `train` writes it.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: If it is not a run directory, is of another format, or cannot be written to.

    Example:
        >>> write_report("runs/demo")                                       # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    run = read_run(run_directory)
    run = dataclasses.replace(run, findings=_diagnose(run.directory))
    page, text, content = html_report(run), markdown_report(run), json_report(run)
    path = run.directory / "report.html"
    try:
        write_text(run.directory / "report.md", text)
        write_json(run.directory / "report.json", content)
        write_text(path, page)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def html_report(run: RunFiles) -> str:
    """Return the whole page."""
    parts = [lead(run)]
    for name, title, build in SECTIONS:
        content = build(run)
        if content:
            parts.append(tag("section", tag("h2", title), content, id=name))
    parts.append(
        tag(
            "footer",
            "Made from the files of the run directory by keras-recipes ",
            (run.environment.get("versions") or {}).get("keras-recipes", ""),
            ".",
        )
    )
    return document(f"{run.recipe.get('name', 'Run')} · report", join(parts, "\n"))


def _diagnose(directory: Path) -> list[dict]:
    """Return the findings on the curves; none for files that cannot be diagnosed."""
    from recipes.diagnosis.diagnose import diagnose

    try:
        found = diagnose(directory).findings
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return []  # What is missing or broken is in the notes already.
    keys = ("name", "severity", "message", "advice")
    return [{key: getattr(finding, key) for key in keys} for finding in found]
