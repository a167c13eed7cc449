"""The report of a search: what it says, and that it is written after each stage."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from recipes import Recipe, load_data
from recipes.files import read_json
from tuning._search_trials import Trial
from tuning.search_axes import Axis, axes
from tuning.search_markdown import search_markdown
from tuning.search_page import search_html, write_search_report
from tuning.search_verdicts import verdicts
from tuning.search_view import read_view
from tuning.search_wording import text_of
from tuning.spaces import Space


@pytest.fixture(scope="module")
def found(search_folder, tmp_path_factory):
    return search_folder.write_search(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def view(found):
    return read_view(found)


def words(view, *parts):
    """Return the verdicts that have all parts, with their kind."""
    return [(kind, text) for kind, text in verdicts(view) if all(part in text for part in parts)]


def svgs(page):
    """Return the pictures of a page, parsed: they are well-formed."""
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    return [ElementTree.fromstring(text) for text in found]


class Balanced(HTMLParser):
    """Checks that every tag that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_files_are_written_and_are_the_same_again(found):
    path = write_search_report(found)
    assert path == found.out / "search.html"
    first = path.read_bytes(), (found.out / "search.md").read_bytes()
    write_search_report(found)
    assert (path.read_bytes(), (found.out / "search.md").read_bytes()) == first
    checker = Balanced()
    checker.feed(path.read_text())
    assert (checker.wrong, checker.open) == ([], [])
    assert "still to come" not in path.read_text()
    page = write_search_report(found, running="the refined search").read_text()
    assert "the refined search is still to come" in page


def test_every_trial_is_a_line_of_the_parallel_coordinates(found, view):
    charts = [
        picture
        for picture in svgs(search_html(view))
        if "each a line across" in (picture.get("aria-label") or "")
    ]
    assert [chart.get("aria-label").split()[0] for chart in charts] == ["26", "10"]
    for stage, chart in zip(("coarse", "refined"), charts, strict=True):
        trials = [trial for trial in found.trials if trial.stage == stage]
        lines = [line.get("class") for line in chart.iter("polyline")]
        lost = sum(trial.value is None for trial in trials)
        pruned = sum(trial.state == "pruned" for trial in trials)
        assert lines.count("trial lost") == lost
        assert lines.count("trial pruned") == pruned
        assert lines.count("trial best") == 1
        assert lines.count("trial done") == len(trials) - lost - pruned - 1


def test_the_logarithm_places_points_on_an_axis(found, view):
    """The heights of the best line, from its values by hand."""
    chart = next(
        picture
        for picture in svgs(search_html(view))
        if "10 trials" in picture.get("aria-label", "")
    )
    line = next(one for one in chart.iter("polyline") if one.get("class") == "trial best")
    heights = [float(point.split(",")[1]) for point in line.get("points").split()]
    values = found.best.values
    shares = [
        math.log(values["optimizer.learning_rate"] / 0.003) / math.log(1.9 / 0.003),
        math.log(values["optimizer.weight_decay"] / 5e-4) / math.log(100),
        [32, 64, 128].index(values["training.batch_size"]) / 2,
        [0.0, 0.1, 0.2].index(values["augmentation.label_smoothing"]) / 2,
        [None, "randaugment(n=2, m=9)", "trivialaugment"].index(values["augmentation.policy"]) / 2,
        values["schedule.warmup"] / 0.4,
        # The best is at the top.
        1.0,
    ]
    base, height = 308, 250
    assert heights == pytest.approx([base - height * share for share in shares], abs=0.06)


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        (Axis("a", 1e-4, 1.0, log=True), 1e-2, 0.5),
        (Axis("a", 0.0, 0.4), 0.1, 0.25),
        (Axis("a", 2.0, 2.0), 2.0, 0.5),
        # What lies beyond is drawn at the end.
        (Axis("a", 0.0, 1.0), 3.0, 1.0),
        (Axis("a", 0.0, 1.0), "text", None),
        (Axis("a", choices=(None, "x", True)), True, 1.0),
        (Axis("a", choices=(8,)), 8, 0.5),
        (Axis("a", choices=(8, 16)), 32, None),
    ],
)
def test_places_on_an_axis(axis, value, place):
    assert axis.place(value) == (None if place is None else pytest.approx(place))


def test_scales_of_a_model_of_ones_own_are_guessed():
    def trial(number, rate):
        values = {"rate": rate, "units": 2**number, "kind": "ab"[number % 2]}
        return Trial("coarse", number, values, "completed", None, 1.0, 1, 1, 1.0, (1.0,), 1.0, {})

    trials = [trial(number, 10.0**-number) for number in range(8)]
    assert [(axis.log, axis.choices) for axis in axes(trials, None)] == [
        (True, ()),
        (True, ()),
        (False, ("a", "b")),
    ]
    declared = axes(trials, Space({"model.width": [8, 16]}))
    assert declared[0].log


def test_sentences(found, view):
    images = 1200
    best = max(t.value for t in found.trials if t.stage == "coarse" and t.state == "completed")
    ((_, gain),) = words(view, "After 5 epochs the best trial is at")
    assert f"is at {100 * best:.1f}%" in gain
    noise = 200 * math.sqrt(2 * best * (1 - best) / images)
    assert f"by up to about {noise:.1f} points" in gain
    mean = sum(found.seeds.accuracies) / 3
    assert words(view, f"with 3 seeds, the winner reaches {100 * mean:.2f} ± 0.40%")
    rate = next(t for t in found.trials if t.state == "diverged").values["optimizer.learning_rate"]
    assert words(view, "1 of 36 trials diverged", text_of(rate), "clip_norm")[0][0] == "warn"
    assert words(view, "1 of 36 trials failed", "model.width must be a positive number")
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    saved = sum(5 - trial.epochs for trial in pruned)
    planned = 26 * 5 + 10 * 10
    assert words(view, f"{len(pruned)} of 36 trials were behind", f"saved {saved} of {planned} ")
    assert words(view, "worse than untrained", "1.9", "log 0.003..1.9 was searched in place of")
    assert words(view, "Trials of 10 epochs favour what learns fast", "optimizer.weight_decay")


def test_the_gain_is_that_of_trials_of_one_length(found, view):
    """As under Hyperband, which tries the recipe briefly and then for longer."""
    recipe = Recipe.from_dict(view.plan["recipe"])

    def trial(number, rate, value, epochs):
        values = {"optimizer.learning_rate": rate}
        curve = (value,) * epochs
        return Trial("coarse", number, values, "completed", None, value, epochs, epochs, 1.0,
                     curve, value, values)  # fmt: skip

    def gains(*trials):
        best = max(trials, key=lambda one: one.value)
        result = dataclasses.replace(found, trials=trials, best=best, seeds=None)
        given = dataclasses.replace(view, result=result, validation_images=None)
        return [text for _, text in verdicts(given) if "the recipe as it is" in text]

    own = recipe.optimizer.learning_rate
    short = trial(0, own, 0.6, 1), trial(1, 0.01, 0.4, 1), trial(2, 0.9, 0.3, 3)
    (same,) = gains(*short, trial(3, own, 0.9, 9), trial(4, 0.9, 0.8, 9))
    assert same == "None of 2 trials was better than the recipe as it is."
    assert gains(*short, trial(3, 0.9, 0.9, 9)) == []
    (better,) = gains(*short, trial(3, own, 0.8, 9), trial(4, 0.9, 0.9, 9))
    assert better.startswith(
        "After 9 epochs the best trial is at 90.0%, the recipe as it is at 80.0% (+10.0 points)."
    )


def test_a_best_value_at_the_end_of_its_range_is_told(found, view):
    def with_best(**values):
        best = dataclasses.replace(found.best, values={**found.best.values, **values})
        return dataclasses.replace(view, result=dataclasses.replace(found, best=best))

    decay = "optimizer.weight_decay"
    assert not words(with_best(**{decay: 5e-3}), decay, "end of")
    assert words(with_best(**{decay: 4.9e-2}), f"{decay}: the best value, 0.049, lies at the upper")
    assert words(with_best(**{decay: 5.1e-4}), "lies at the lower end of log 0.0005..0.05")
    # Nothing is below 0, and nothing above what the range test took away.
    assert not words(with_best(**{"schedule.warmup": 0.0}), "schedule.warmup: the best")
    assert not words(with_best(**{"optimizer.learning_rate": 1.9}), "learning_rate: the best")


def test_a_batch_size_says_what_it_costs(found, view):
    """Against the trials and the files, gone through by hand."""
    assert [cost.size for cost in view.batch_costs] == sorted(
        {t.values["training.batch_size"] for t in found.trials if t.stage == "refined"}
    )
    for cost in view.batch_costs:
        trials = [
            trial
            for trial in found.trials
            if trial.stage == "refined" and trial.values["training.batch_size"] == cost.size
        ]
        assert cost.trials == len(trials)
        assert cost.best == max(trial.value for trial in trials)
        run = found.out / "refined" / "runs" / f"{trials[0].number:04d}" / "history.jsonl"
        seconds = [json.loads(line)["seconds"] for line in run.read_text().splitlines()]
        assert cost.epoch_seconds == pytest.approx(seconds[1])
        assert cost.seconds == pytest.approx(sorted(t.seconds for t in trials)[len(trials) // 2])
    assert "What a batch size costs" in search_html(view)
    sentences = words(view, "Batch size")
    assert len(sentences) == 1
    lone = dataclasses.replace(view, batch_costs=())
    assert "What a batch size costs" not in search_html(lone)


def test_the_best_are_diagnosed_with_advice(view):
    page, text = search_html(view), search_markdown(view)
    for run in (*view.leaders, *view.seeds):
        for finding in run.findings:
            assert finding["advice"] in page
    assert any(run.findings for run in view.leaders)
    assert [run.label for run in view.seeds] == ["seed 0", "seed 1", "seed 2"]
    assert "### refined" in text
    # Too short to say much: said so.
    assert read_view(_coarse_only(view)).leaders[0].note is None or "show no more" in str(
        read_view(_coarse_only(view)).leaders[0].note
    )


def _coarse_only(view):
    trials = tuple(trial for trial in view.result.trials if trial.stage == "coarse")
    best = max((t for t in trials if t.state == "completed"), key=lambda trial: trial.value)
    return dataclasses.replace(view.result, trials=trials, best=best, seeds=None)


def test_what_is_missing_or_broken_is_left_out(search_folder, tmp_path):
    found = search_folder.write_search(tmp_path, refined=0, seeds=0)
    for name in ("range_test.json", "preflight.json"):
        (tmp_path / name).write_text("{")
    (tmp_path / "coarse" / "stage.json").unlink()
    for run in (tmp_path / "coarse" / "runs").iterdir():
        (run / "history.jsonl").write_text("{ no")
    page = write_search_report(found).read_text()
    assert "Range test: loss" not in page
    assert "Before the search" not in page
    assert "All trials" in page


def test_names_of_a_model_of_ones_own_are_escaped(search_folder, tmp_path):
    path = write_search_report(search_folder.write_own_search(tmp_path))
    page = path.read_text()
    assert "<script" not in page
    assert "&lt;b&gt;build_model&lt;/b&gt;" in page
    assert len(svgs(page)) >= 3
    assert "<b>" not in (tmp_path / "search.md").read_text()


def test_each_stage_leaves_a_report(tmp_path, monkeypatch):
    pytest.importorskip("keras_tuner")
    import numpy as np

    from tuning import _search_runners as runners
    from tuning import search, searching

    def complete(recipe, data, directory, *, objective, prune, progress):
        value = 0.5 + recipe.optimizer.learning_rate / 100
        return runners.Outcome("completed", None, value, (value,))

    seen = []
    write = searching.write_search_report

    def note(result, *, running=None):
        path = write(result, running=running)
        seen.append((running, len(result.trials), path.exists()))
        return path

    monkeypatch.setattr(runners, "run_recipe_trial", complete)
    monkeypatch.setattr(searching, "write_search_report", note)
    monkeypatch.setattr(searching, "_retrain", lambda *arguments: searching.SeedResults((0.5, 0.6)))
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 1)).astype(np.uint8)
    data = load_data((images, np.arange(60) % 3), validation=0.25)
    search(
        Recipe(name="mine"),
        data,
        {"learning_rate": "log 1e-2..1"},
        trials=6,
        refine=True,
        seeds=2,
        preflight=False,
        range_test=False,
        out=tmp_path / "a",
        say=lambda line: None,
    )
    assert seen == [
        ("the refined search", 4, True),
        ("the winner at full length", 6, True),
        (None, 6, True),
    ]
    assert "55.00 ± 7.07%" in (tmp_path / "a" / "search.md").read_text()
    assert read_json(tmp_path / "a" / "result.json")["seeds"]["mean"] == pytest.approx(0.55)
