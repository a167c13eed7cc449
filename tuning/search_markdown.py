"""The report of a search as Markdown: the same figures, without pictures."""

from recipes.evaluation import markdown
from tuning.search_rows import (
    BATCH_HEADER,
    BATCH_NOTE,
    IMPORTANCE_NOTE,
    SEED_HEADER,
    batch_rows,
    before_rows,
    finding_title,
    importance_rows,
    ordered_trials,
    seed_rows,
    sentence,
    trend_words,
    trial_header,
    trial_row,
    what_was_searched,
    winner_header,
    winner_rows,
)
from tuning.search_verdicts import verdicts
from tuning.search_view import SearchView


def search_markdown(view: SearchView, running: str | None = None) -> str:
    """Return the report as Markdown: the same figures, without pictures."""
    escape = markdown.escape
    parts = [f"# Search: {escape(view.name)}"]
    if running:
        parts.append(f"{escape(running)} is still to come.")
    parts.append(escape(what_was_searched(view)))
    parts.append("\n".join(f"- {escape(words)}" for _, words in verdicts(view)))
    parts += ["## The winner", markdown.table(winner_header(view), list(winner_rows(view)))]
    rows = [
        (one.name, "–" if one.share is None else f"{100 * one.share:.0f}%",
         trend_words(one, view.result.direction), good)
        for one, good in importance_rows(view)
    ]  # fmt: skip
    header = ("Field", "Importance", "Better if", "In the best trials")
    parts += ["## What each field is worth", IMPORTANCE_NOTE, markdown.table(header, rows)]
    if view.range_test is not None:
        parts.append("## Range test")
        parts.append("\n".join(f"- {escape(line)}" for line in view.range_test.lines()))
    if view.batch_costs:
        parts += ["## What a batch size costs", BATCH_NOTE,
                  markdown.table(BATCH_HEADER, list(batch_rows(view)))]  # fmt: skip
    parts.append("## Diagnosis")
    for run in (*view.leaders, *view.seeds):
        lines = [
            f"- {escape(finding_title(finding['name']))}: {escape(finding['message'])}. "
            f"What to do: {escape(finding['advice'])}."
            for finding in run.findings
        ] or [f"- {escape(sentence(run.note))}"]
        parts += [f"### {escape(run.label)}", "\n".join(lines)]
    if view.result.seeds:
        parts += ["## The winner over seeds", markdown.table(SEED_HEADER, list(seed_rows(view)))]
    before = list(before_rows(view))
    if before:
        lines = [f"- {escape(name)}: {escape(value)}" for name, value in before]
        parts += ["## Before the search", "\n".join(lines)]
    header, names = trial_header(view)
    rows = [trial_row(trial, names, view.result.objective) for trial in ordered_trials(view)]
    parts += ["## All trials", markdown.table(header, rows)]
    return "\n\n".join(part for part in parts if part) + "\n"
