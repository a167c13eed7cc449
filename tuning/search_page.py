"""The report of a search: one page that needs nothing else, and the same as Markdown."""

from pathlib import Path

from recipes.errors import RunError
from recipes.evaluation.page import document, join, tag
from recipes.evaluation.wording import duration
from recipes.files import write_text
from recipes.wording import counted
from tuning.search_charts import STYLE
from tuning.search_markdown import search_markdown
from tuning.search_report import SearchResult
from tuning.search_rows import what_was_searched
from tuning.search_sections import SECTIONS
from tuning.search_verdicts import verdicts
from tuning.search_view import SearchView, read_view
from tuning.search_wording import show


def write_search_report(result: SearchResult, *, running: str | None = None) -> Path:
    """Write `search.html` and `search.md` into the folder of a search.

    The page holds its own style sheet and pictures, and asks nothing of a network. The same files
    give the same bytes.

    Args:
        result: Of the search, or of the stages that are finished.
        running: What is still to be done, such as `"the refined search"`; `None` if nothing.

    Returns:
        The path of `search.html`.

    Raises:
        RunError: If the folder cannot be written to.

    Example:
        >>> write_search_report(found)                                      # doctest: +SKIP
        PosixPath('runs/search/search.html')
    """
    view = read_view(result)
    path = result.out / "search.html"
    try:
        write_text(result.out / "search.md", search_markdown(view, running))
        write_text(path, search_html(view, running))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def search_html(view: SearchView, running: str | None = None) -> str:
    """Return the whole page."""
    sections = [(name, title, build(view)) for name, title, build in SECTIONS]
    sections = [section for section in sections if section[2]]
    links = join((tag("a", _link(name), href=f"#{name}") for name, _, _ in sections), " ")
    pill = tag("span", f"{running} is still to come", class_="pill") if running else None
    parts = [
        tag(
            "header",
            tag("h1", f"Search: {view.name}", pill),
            tag("p", what_was_searched(view), class_="note"),
            tag("nav", links, aria_label="Sections"),
        ),
        _cards(view),
        tag("ul", join(tag("li", words, class_=kind) for kind, words in verdicts(view)),
            class_="verdicts"),
        *(tag("section", tag("h2", title), body, id=name) for name, title, body in sections),
        tag("footer", "Made from the files of the search by keras-recipes."),
    ]  # fmt: skip
    return document(f"{view.name} · search", join(parts, "\n"), style=STYLE)


def _link(name):
    return name.replace("-", " ").capitalize()


def _cards(view):
    result = view.result
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    seconds = sum(trial.seconds for trial in result.trials)
    lengths = " and ".join(
        str(length) for length in sorted({trial.planned_epochs for trial in result.trials})
    )
    cards = [
        (f"Best {result.objective}", show(result.objective, result.best.value), result.best.name),
        ("Trials", str(len(states)), counts),
        ("Time of the trials", duration(seconds), f"{lengths} epochs a trial"),
    ]
    if result.seeds:
        spread = result.seeds.deviation
        small = "" if spread is None else f" ± {100 * spread:.1f}"
        cards.append(
            ("Winner at full length", f"{100 * result.seeds.mean:.1f}{small}%",
             f"validation, {counted(len(result.seeds.accuracies), 'seed')}")
        )  # fmt: skip
    return tag(
        "div",
        join(
            tag(
                "div",
                tag("div", label, class_="label"),
                tag("div", value, class_="value"),
                tag("div", detail, class_="detail"),
                class_="card",
            )
            for label, value, detail in cards
        ),
        class_="cards",
    )
