"""Train a classifier for 8-bit arithmetic, and compare the file with one quantized after training.

    python examples/quantize_aware.py RUN
    python examples/quantize_aware.py RUN --epochs 2 --preserve sparsity --out aware

RUN is a finished run, as of `recipes train fashion-mini`. Its network is trained on with every
weight and result rounded to 8 bits, as the file will round them, on the recipe's own batches.
"""

import argparse
import sys
from pathlib import Path

from recipes import RecipesError, evaluate
from recipes.evaluation.classifier import load_keras_model
from recipes.run import Run
from recipes.training import training_pipeline
from tuning import export_tflite, quantize_aware
from tuning.calibration_data import calibration_indices


def main(arguments=None):
    """Train, export, print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("run", help="run directory with a trained model")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="batches an epoch (default: all)")
    parser.add_argument("--preserve", help="sparsity, clusters or both, of a pruned model")
    parser.add_argument("--out", default="aware", help="folder to write into")
    options = parser.parse_args(arguments)
    try:
        work(Run(options.run), Path(options.out), options)
    except (RecipesError, OSError) as error:
        print(f"quantize_aware: {error}", file=sys.stderr)
        return 2
    return 0


def work(run, out, options):
    """Do it."""
    data = run.load_data()
    model = load_keras_model(run.path("model.keras"))
    train = data.splits["train"]
    batch_size = min(run.recipe.training.batch_size, len(train))
    trained = quantize_aware(
        model,
        training_pipeline(run.recipe, data, batch_size),
        epochs=options.epochs,
        steps_per_epoch=options.steps or len(train) // batch_size,
        preserve=options.preserve,
    )
    out.mkdir(parents=True, exist_ok=True)
    contract = {**data.input_contract(), "class_names": list(data.class_names)}
    images = train.load(calibration_indices(train.labels, 300))
    after = export_tflite(
        model, out / "after.tflite", precision="int8", calibration_images=images, contract=contract
    )
    aware = trained.export(out / "aware.tflite", images=images, contract=contract)
    for name, judged in (("float", model), ("int8 after training", after), ("by training", aware)):
        print(f"{name}: test accuracy {evaluate(judged, data).accuracy}")
    print(f"float operations left: {trained.float_operations}")


if __name__ == "__main__":
    sys.exit(main())
