"""What each command of `recipes.cli` does: call one public function, print what it returns.

Every function takes the parsed options and returns the exit code, or `None` for 0. Imports are
inside the functions, so that no command loads what it does not use.
"""

import json
import os
import sys
from pathlib import Path

from recipes import _strategy_arguments
from recipes.errors import RecipesError


def run_list(options):
    from recipes.catalog import get_recipe, list_recipes

    if options.models:
        from recipes.models import list_models

        names = list_models(options.models)
        return print_json(names) if options.json else print("\n".join(names))
    chosen = [get_recipe(name) for name in list_recipes()]
    if options.json:
        return print_json([{"name": recipe.name, "summary": recipe.summary} for recipe in chosen])
    rows = [(recipe.name, recipe.model.name, recipe.summary) for recipe in chosen]
    return _print_table(("recipe", "network", "what it is for"), rows)


def run_show(options):
    from recipes.catalog import list_recipes, recipe_notes

    recipe = _recipe(options)
    if options.json:
        return print_json(recipe.to_dict())
    if options.recipe in list_recipes():
        print(recipe_notes(options.recipe), end="\n\n")
    rows = [
        (f"{section}.{name}", str(value))
        for section, fields in recipe.to_dict().items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    ]
    return _print_table(("field", "value"), rows)


def run_model(options):
    """Show a network, or a trained model in a file."""
    from recipes._quiet import import_tensorflow

    import_tensorflow()
    from recipes.models.info import as_model, model_info
    from recipes.models.summary import summarize

    model = as_model(_model_in_file(options.model) or options.model, options.input)
    if options.diagram:
        from recipes.files import write_text
        from recipes.models.diagram import diagram

        try:
            write_text(options.diagram, diagram(model))
        except OSError as error:
            raise RecipesError(
                f"cannot write {options.diagram}: {error.strerror or error}"
            ) from error
    if options.json:
        return print_json(model_info(model, options.input).to_dict())
    summarize(model, options.input, layers=not options.brief)
    return 0


def _model_in_file(path):
    """Return the Keras model in a run or file, or `None` if `path` is not one but a name."""
    if not (Path(path).is_dir() or Path(path).suffix):
        return None
    from recipes.evaluation.classifier import KerasClassifier, load_classifier

    classifier = load_classifier(path)
    if not isinstance(classifier, KerasClassifier):
        raise RecipesError(f"{path} is a {classifier.kind} file; expected a run or a .keras file")
    return classifier.model


def _recipe(options):
    from recipes.catalog import get_recipe
    from recipes.config import parse_settings

    settings = parse_settings(options.set)
    if options.seed is not None:
        settings["training.seed"] = options.seed
    return get_recipe(options.recipe).override(settings)


def run_train(options):
    from tuning.pipeline import resume_and_export, train_and_export

    export = not options.no_export
    if options.resume:
        if (
            any((options.recipe, options.out, options.set, options.labels))
            or options.seed is not None
            or options.corrupt != "refuse"
        ):
            raise RecipesError(
                "--resume DIR stands alone: recipe, images and settings come from the run"
            )
        run = resume_and_export(
            options.resume, export=export, strategy=_strategy_arguments.devices(options)
        )
        return _print_run(run, options)
    if not (options.recipe and options.source and options.out):
        raise RecipesError(
            "train expects RECIPE SOURCE --out DIR, or --resume DIR; see recipes train --help"
        )
    run = train_and_export(
        _recipe(options),
        options.source,
        options.out,
        labels=options.labels,
        corrupt=options.corrupt,
        export=export,
        strategy=_strategy_arguments.devices(options),
    )
    return _print_run(run, options)


def run_demo(options):
    from tuning.pipeline import train_and_export

    return _print_run(train_and_export(_recipe(options), "fashion-mini", options.out), options)


def _print_run(run, options):
    if run is None:
        print("done; the chief writes the run", file=sys.stderr)
        return 0
    from recipes.evaluation.console import run_rows, run_summary

    if options.json:
        return print_json(run_summary(run))
    _print_table(("result", "value", "what it means"), run_rows(run))
    print(f"report: {run.path('report.html')}")
    return 0


def run_evaluate(options):
    from recipes.evaluation.evaluate import evaluate
    from recipes.evaluation.labelled import images_of

    # Those that both models are judged on, also for the numbers of the first alone.
    data = images_of([options.model, options.against], options.source)
    evaluation = evaluate(
        options.model,
        data,
        split=options.split,
        corrupt=options.corrupt,
        bootstrap=options.bootstrap,
        slices=options.slices and options.slices.split(","),
    )
    comparison = options.against and _against(options, evaluation, data)
    if options.json:
        result = evaluation.to_dict()
        return print_json(result | {"comparison": comparison.to_dict()} if comparison else result)
    print(evaluation)
    if comparison:
        print(f"\n{options.model} (first) against {options.against} (second)\n{comparison}")
    return 0


def _against(options, evaluation, data):
    from recipes.evaluation.comparison import compare

    return compare(
        evaluation,
        options.against,
        data,
        split=options.split,
        corrupt=options.corrupt,
        bootstrap=options.bootstrap,
    )


def run_predict(options):
    from recipes.evaluation.predict import predict

    predictions = predict(options.model, options.images, top=options.top)
    if options.json:
        return print_json(predictions)
    rows = [
        (row["file"] if rank == 0 else "", guess["class"], _percent(guess["probability"]))
        for row in predictions
        for rank, guess in enumerate(row["top"])
    ]
    return _print_table(("image", "class", "probability"), rows, right=(2,))


def run_export(options):
    from tuning.pipeline import export_again

    result = export_again(options.folder, tuple(options.to))
    if options.json:
        return print_json(result)
    from recipes.evaluation.console import export_rows

    _print_table(
        ("file", "kB", "accuracy", "agrees", "ms an image"), export_rows(result), right=(1, 2, 3, 4)
    )
    return 0


def run_compress(options):
    from recipes.run import Run
    from tuning.compression import compress

    report = compress(
        Run(options.folder),
        max_drop=options.max_drop,
        target=options.target,
        methods=options.methods,
        student=options.student,
        student_epochs=options.student_epochs,
        budget_minutes=options.budget_minutes,
        out=options.out,
        seed=options.seed,
        # The summary is printed below.
        progress=not options.json,
    )
    if options.json:
        print_json(report.to_dict())
    else:
        _print_table(report.header, report.rows(), right=range(1, len(report.header)))
        print(f"{report}\nreport: {Path(report.directory) / 'report.html'}")
    return 0 if report.chosen else 1


def run_benchmark(options):
    from tuning.benchmarking import benchmark

    result = benchmark(
        options.files, threads=options.threads, runs=options.runs, rounds=options.rounds
    )
    return print_json(result.to_dict()) if options.json else print(result)


def run_report(options):
    from recipes.evaluation.report import write_report
    from recipes.run import Run

    path = write_report(Run(options.folder).directory)
    return print_json({"report": str(path)}) if options.json else print(path)


def run_compare(options):
    from recipes.evaluation.compare_runs import write_comparison

    path = write_comparison(options.folders, options.out)
    return print_json({"report": str(path)}) if options.json else print(path)


def run_ablate(options):
    """Compare a recipe with and without each of its augmentations."""
    from recipes.ablation import ablate
    from recipes.training import load_recipe_data

    recipe = _recipe(options)
    modes = ("without", "alone") if options.mode == "both" else (options.mode,)
    data = load_recipe_data(recipe, options.source, labels=options.labels, corrupt=options.corrupt)
    effects = ablate(recipe, data, options.out, seeds=options.seeds, modes=modes)
    if options.json:
        from dataclasses import asdict

        return print_json([asdict(effect) for effect in effects])
    rows = [
        (
            effect.variant,
            _percent(effect.mean),
            _points(effect.difference),
            "–" if effect.interval is None else " to ".join(map(_points, effect.interval)),
        )
        for effect in effects
    ]
    header = ("variant", "validation accuracy", "difference", "95 % interval of it")
    return _print_table(header, rows, right=(1, 2, 3))


def run_search(options):
    """Search over the fields of a recipe."""
    from recipes.training import load_recipe_data
    from tuning.searching import search
    from tuning.spaces import Space

    if options.space and options.vary:
        raise RecipesError("give --space or --vary, not both")
    if options.workers > 1:
        # Before TensorFlow starts: this process would keep all memory of a GPU from its workers.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    space = Space.parse(options.vary) if options.vary else options.space
    recipe = _recipe(options)
    found = search(
        recipe,
        load_recipe_data(recipe, options.source, labels=options.labels, corrupt=options.corrupt),
        space,
        out=options.out,
        algorithm=options.algorithm,
        trials=options.trials,
        budget_minutes=options.minutes,
        epochs_per_trial=options.epochs,
        objective=options.objective,
        prune=not options.no_prune,
        refine=options.refine,
        seeds=options.seeds,
        preflight=not options.no_preflight,
        range_test=not options.no_range_test,
        seed=options.seed or 0,
        workers=options.workers,
        recycle=options.recycle,
    )
    if options.json:
        return print_json(found.to_dict())
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(found)
    return 0


def run_check_data(options):
    from recipes.data import check_data

    report = check_data(options.source, labels=options.labels)
    if options.json:
        print_json(report.to_dict())
    else:
        print("\n".join(report.to_lines()))
    return 0 if report.ok else 1


def _percent(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def _points(value):
    return "–" if value is None else f"{100 * value:+.2f}"


def print_json(value):
    json.dump(value, sys.stdout, indent=2, allow_nan=False, default=_plain)
    print()
    return 0


def _plain(value):
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def _print_table(header, rows, right=()):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index in right else "left")
    for row in rows:
        # Text, not markup: a class or a file may be called [red].
        table.add_row(*(Text(str(cell)) for cell in row))
    # Into a pipe or a file nothing is folded at 80 columns.
    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(table)
    return 0
