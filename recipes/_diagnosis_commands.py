"""What `recipes preflight` and `recipes diagnose` do."""


def run_preflight(options) -> int:
    """Check a recipe on images before it is trained; 1 if there are errors."""
    from recipes._commands import _recipe, print_json
    from recipes._quiet import import_tensorflow
    from recipes.training import load_recipe_data

    recipe = _recipe(options)
    data = load_recipe_data(recipe, options.source, labels=options.labels, corrupt=options.corrupt)
    import_tensorflow()
    from recipes.diagnosis.of_recipe import preflight_recipe

    found = preflight_recipe(recipe, data, steps=options.steps)
    print_json(found.to_dict()) if options.json else _show(found, options.layers)
    return 0 if found.ok else 1


def _show(found, layers):
    from recipes.diagnosis.tables import layer_table

    _print(found)
    if layers:
        _print(layer_table(found.layers))


def run_diagnose(options) -> int:
    """Say what the curves of a run show."""
    from recipes._commands import print_json
    from recipes.diagnosis.diagnose import diagnose

    data = None
    if options.copies:
        from recipes.run import Run

        data = Run(options.folder).load_data()
    found = diagnose(options.folder, data=data)
    return print_json(found.to_dict()) if options.json else _print(found)


def _print(found) -> int:
    import sys

    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(found)
    return 0
