"""Climbing the ladder of candidates: make each, measure it, write it down, and report."""

import dataclasses
import time
from typing import Any

from recipes.errors import RunError
from recipes.evaluation import wording
from recipes.evaluation.litert import read_facts, runtime_name
from recipes.wording import counted
from tuning._compression_folder import FORMAT_VERSION
from tuning.accuracy_aware import (
    CANDIDATES,
    MOST_RESTORED,
    REFERENCE,
    Outcome,
    choose,
    next_candidate,
    rank,
    restore,
)
from tuning.candidate_exam import Exam, file_facts
from tuning.candidates import Settings
from tuning.compression_report import CompressionReport, first_name
from tuning.tflite import versions

# Timed calls of each file in each of the ten rounds.
_CALLS = 20
_STATES = {"failed": "failed", "not tried": "was not tried"}


class Climb:
    """Climbs the ladder: makes candidates, measures them, writes down what was found."""

    def __init__(self, workshop, data, folder, log, threads):
        self._workshop = workshop
        self._folder = folder
        self._log = log
        self._data = data
        self._threads = threads
        self._exam = Exam(data, folder.file(REFERENCE), threads)
        self._rows = folder.rows()
        # What they lacked may have been installed since. They come last, since they may fail again.
        self._failed_before = [
            name for name, row in self._rows.items() if row["status"] == "failed"
        ]
        self._not_tried: dict[str, str] = {}

    def climb(self, target, methods, max_drop, budget_minutes):
        """Try candidates until the ladder or the time ends."""
        started = time.monotonic()
        for name in self._rows:
            if name not in self._failed_before:
                self._log(f"{name}: kept from before")
        while name := self._next(target, methods, max_drop):
            minutes = (time.monotonic() - started) / 60
            if budget_minutes is not None and minutes >= budget_minutes and name != REFERENCE:
                reason = f"the budget of {budget_minutes:g} minutes is used up"
                self._not_tried[name] = reason
                self._log(f"{name} and what may follow: {reason}")
                return
            self._try(name, max_drop)

    def _next(self, *wanted):
        name = next_candidate(*wanted, self._outcomes())
        if name is None and self._failed_before:
            for failed in self._failed_before:
                del self._rows[failed]
            self._failed_before = []
            name = next_candidate(*wanted, self._outcomes())
        return name

    def _try(self, name, max_drop):
        self._log(f"{name}: {CANDIDATES[name].summary}")
        began = time.monotonic()
        row = {"name": name, "summary": CANDIDATES[name].summary}
        path = self._folder.file(name)
        try:
            if name == "mixed":
                row["restored"] = list(self._restored(max_drop))
            self._workshop.make(name, path, tuple(row.get("restored", ())))
            row |= {"status": "measured", "file": f"candidates/{path.name}", **file_facts(path)}
            if CANDIDATES[name].method == "distillation":
                row["student"] = self._workshop.settings.student
                row["parameters"] = read_facts(path)["provenance"]["parameters"]
            row["validation"] = self._exam.measure(path, "validation")
        except OSError as error:
            raise RunError(
                f"cannot write to {self._folder.path}: {error.strerror or error}"
            ) from error
        except Exception as error:  # One candidate of many: its reason is kept, the rest goes on.
            if name == REFERENCE:
                raise
            path.unlink(missing_ok=True)
            reason = " ".join(str(error).split())[:500] or type(error).__name__
            row |= {"status": "failed", "reason": reason}
        row["seconds"] = round(time.monotonic() - began, 1)
        self._rows[name] = row
        self._folder.write_row(row)
        self._log(_described(row))

    def _restored(self, max_drop):
        """Find the operations that have to be float; what was measured before is not repeated."""
        kept = self._folder.sensitivity()
        trial = self._folder.path / "trial.tflite"
        try:
            return self._search(kept, trial, max_drop)
        finally:
            trial.unlink(missing_ok=True)

    def _search(self, kept, trial, max_drop):
        groups = self._workshop.results()

        def made(results):
            trial.write_bytes(self._workshop.mixed(joined(groups, results)))
            return trial

        start = self._exam.distance(made(()))
        if "base" not in kept:
            kept |= {"base": self._exam.distortion(trial), "operations": {}}
        for number, name in enumerate(groups, 1):
            if name not in kept["operations"]:
                self._log(f"result {number} of {len(groups)} alone in float", passing=True)
                kept["operations"][name] = self._exam.distortion(made((name,)))
                self._folder.write_sensitivity(kept)

        def measure(results):
            found = self._exam.distance(made(results))
            self._log(
                f"{counted(len(results), 'result')} in float: "
                f"{wording.signed(-100 * found.drop, 2)} points on the validation images"
            )
            return found

        results, end, steps = restore(
            rank(kept["base"], kept["operations"]),
            start,
            measure,
            max_drop,
            int(MOST_RESTORED * len(groups)),
            lambda results: len(joined(groups, results)),
        )
        restored = joined(groups, results)
        kept |= {
            "start": dataclasses.asdict(start),
            "end": dataclasses.asdict(end),
            "steps": steps,
            "restored": list(restored),
        }
        self._folder.write_sensitivity(kept)
        return restored

    def report(self, target, max_drop, arguments):
        """Measure latency, choose, look at the test images, write the report."""
        measured = [row for row in self._rows.values() if row["status"] == "measured"]
        self._log("latency of the files, measured in turn")
        _add_costs([(row, self._folder.file(row["name"])) for row in measured], self._threads)
        chosen, sentence = choose(target, max_drop, self._outcomes())
        has_test = bool(self._data.splits.get("test"))
        if has_test:
            for row in measured:
                self._log(f"{row['name']}: test images", passing=True)
                row["test"] = self._exam.measure(self._folder.file(row["name"]), "test")
        rows = [*self._rows.values(), *map(_left_out, self._not_tried.items())]
        sensitivity = self._folder.sensitivity() if "mixed" in self._rows else {}
        recipe = self._recipe(chosen, arguments) if chosen else None
        report = CompressionReport(
            directory=str(self._folder.path),
            target=target,
            max_drop=max_drop,
            chosen=chosen,
            why=[sentence, *_reasons(rows, chosen, max_drop, sensitivity, has_test)],
            candidates=rows,
            sensitivity=sensitivity,
            recipe=recipe,
            facts={
                "arguments": arguments,
                "images": {name: len(split) for name, split in self._data.splits.items()},
                "threads": self._threads,
                "runtime": runtime_name(),
                "versions": versions(),
                "complete": not self._not_tried,
            },
        )
        self._folder.finish(report)
        for sentence in report.why:
            self._log(sentence)
        return report

    def _recipe(self, chosen, arguments):
        row = self._rows[chosen]
        names = [field.name for field in dataclasses.fields(Settings)]
        return {
            "format_version": FORMAT_VERSION,
            "candidate": chosen,
            "restored": row.get("restored", []),
            "settings": {name: arguments[name] for name in names},
            **self._folder.identity,
            "sha256": row["sha256"],
            "versions": versions(),
        }

    def _outcomes(self):
        return {name: outcome_of(row) for name, row in self._rows.items()}


def joined(groups: dict[str, tuple[str, ...]], results: tuple[str, ...]) -> tuple[str, ...]:
    """Return the operations to leave in float for some results, in the order of the file.

    Example:
        >>> joined({"a": ("a", "b"), "b": ("b", "c"), "c": ("c",)}, ("b", "a"))
        ('a', 'b', 'c')
    """
    wanted = {operation for result in results for operation in groups[result]}
    return tuple(name for name in groups if name in wanted)


def outcome_of(row: dict[str, Any]) -> Outcome:
    """Return what decisions need of a row."""
    if row["status"] != "measured":
        return Outcome(None)
    return Outcome(
        -row["validation"]["difference"],
        row["float_operations"],
        row["bytes"],
        row["gzip_bytes"],
        row.get("latency", {}).get("ratio"),
    )


def _described(row):
    if row["status"] != "measured":
        return f"{row['name']}: failed, {row['reason']}"
    difference = wording.signed(100 * row["validation"]["difference"], 2)
    return (
        f"{row['name']}: {wording.size(row['bytes'])}, {wording.size(row['gzip_bytes'])} after "
        f"gzip, {difference} points on the validation images, "
        f"{row['float_operations']} float operations"
    )


def _left_out(item):
    name, reason = item
    return {
        "name": name,
        "summary": CANDIDATES[name].summary,
        "status": "not tried",
        "reason": reason,
    }


def _reasons(rows, chosen, max_drop, sensitivity, has_test):
    """Return further sentences: what int8 lost, what brought it back, what the test says."""
    by_name = {row["name"]: row for row in rows}
    sentences = []
    int8 = outcome_of(by_name["int8"]) if "int8" in by_name else None
    if int8 is not None and int8.drop is not None and not int8.within(max_drop):
        sentences.append(
            f"Full static int8 loses {100 * int8.drop:.2f} points on the validation images, more "
            f"than {100 * max_drop:g}."
        )
    if sensitivity.get("restored"):
        count = len(sensitivity["restored"])
        sentences.append(
            f"With {counted(count, 'operation')} of {len(sensitivity['operations'])} back "
            f"in float the loss falls from {100 * sensitivity['start']['drop']:.2f} to "
            f"{100 * sensitivity['end']['drop']:.2f} points: "
            # A fused operation has the names of all that went into it.
            + ", ".join(map(first_name, sensitivity["restored"][:5]))
            + (", ..." if count > 5 else ".")
        )
    if chosen and "student" in by_name[chosen]:
        row = by_name[chosen]
        sentences.append(
            f"It is another network: {row['student']}, {row['parameters']:,} parameters, taught by "
            "the one that was given."
        )
    if chosen:
        sentences += _judgement(by_name[chosen], max_drop, has_test)
    for row in rows:
        if row["status"] != "measured":
            reason = row["reason"].rstrip(".?")
            sentences.append(f"{row['name']} {_STATES[row['status']]}: {reason}.")
    return sentences


def _judgement(row, max_drop, has_test):
    if not has_test:
        return ["There are no test images: the figures are those it was chosen by, and flatter it."]
    test = row["test"]
    sentence = (
        f"On {counted(test['images'], 'test image')} it is right for "
        f"{wording.percent(test['accuracy'], 2)}, "
        f"{wording.signed(100 * test['difference'], 2)} points against float "
        f"(95 % interval {wording.points_interval(test['difference_interval'])})."
    )
    if row["name"] != REFERENCE and -test["difference"] > max_drop + 1e-9:
        sentence += " That is more than was allowed: the validation images were kinder to it."
    return [sentence]


def _add_costs(rows, threads):
    """Add latency and memory of the files; the first is the float file."""
    from tuning.benchmarking import benchmark

    costs = benchmark([path for _, path in rows], threads=threads, runs=_CALLS).files
    for (row, _), cost in zip(rows, costs, strict=True):
        row["latency"] = {
            "median": cost.median_ms,
            "p90": cost.p90_ms,
            "ratio": cost.ratio,
            "ratio_interval": list(cost.ratio_interval),
            "threads": threads,
            "delegate": cost.delegate,
        }
        row["memory"] = None if cost.memory_mb is None else round(cost.memory_mb * 1e6)
