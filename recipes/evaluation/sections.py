"""The sections of the HTML report in their order, and the lead above them."""

from collections.abc import Callable

from recipes.evaluation import sections_classes, sections_judged, sections_run, summary
from recipes.evaluation.page import Markup, join, tag
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import date
from recipes.wording import counted


def lead(run: RunFiles) -> Markup:
    """Return the title, the leading numbers and the verdicts."""
    done = len(run.history)
    state = None
    if not run.metrics:
        of = f" of {run.epochs_planned}" if run.epochs_planned else ""
        state = tag("span", f"unfinished after epoch {done}{of}", class_="pill")
    facts = [
        (run.recipe.get("model") or {}).get("name"),
        run.data.get("source"),
        counted(len(run.class_names), "class", "classes") if run.class_names else None,
        date(run.environment.get("started")),
    ]
    cards = join(
        tag(
            "div",
            tag("div", label, class_="label"),
            tag("div", _soften(value), class_="value"),
            tag("div", detail, class_="detail"),
            class_="card",
        )
        for label, value, detail in summary.headlines(run)
    )
    sentences = join(tag("li", text, class_=level) for level, text in summary.verdicts(run))
    links = join(
        (tag("a", name.capitalize(), href=f"#{name}") for name, _, build in SECTIONS if build(run)),
        " ",
    )
    return join(
        [
            tag(
                "header",
                tag("h1", run.recipe.get("name", "Run"), state),
                tag("p", " · ".join(str(fact) for fact in facts if fact), class_="note"),
                tag("nav", links, aria_label="Sections"),
            ),
            tag("section", cards, class_="cards", aria_label="Leading numbers") if cards else None,
            tag("ul", sentences, class_="verdicts"),
        ]
    )


Section = tuple[str, str, Callable[[RunFiles], Markup | None]]
SECTIONS: tuple[Section, ...] = (
    ("files", "Exported files", sections_run.exported_files),
    ("curves", "Learning curves", sections_run.learning_curves),
    ("classes", "Classes", sections_classes.classes),
    ("progress", "Classes by epoch", sections_classes.class_curves),
    ("confusion", "Confusion", sections_judged.confusion),
    ("reliability", "Reliability", sections_judged.reliability),
    ("mistakes", "Most confident mistakes", sections_judged.mistakes),
    ("data", "Data", sections_run.data),
    ("recipe", "Recipe", sections_run.recipe),
    ("environment", "Environment", sections_run.environment),
    ("numbers", "Numbers and their meaning", sections_judged.numbers),
)


def _soften(value):
    """Set the part of a value before an arrow small: the present number is the large one."""
    before, arrow, now = value.rpartition(" → ")
    return join([tag("small", f"{before}{arrow}"), now]) if arrow else value
