"""Measure what several views of each image, or several networks, bring to trained classifiers.

    python benchmarks/test_time_views.py runs/seeds/fashion-strong/seed*

The views are chosen by their mean accuracy on the validation images of all runs; only those, and
the image alone, are then measured on the test images. Last come all networks as one, by the mean of
their probabilities.
"""

import argparse
import json
import statistics

from recipes import Run, evaluate
from recipes.evaluation.classifier import load_keras_model

_ALONE = "the image alone"


def main():
    """Choose, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories of one recipe")
    parser.add_argument(
        "--views", nargs="+", default=["flip", "shifts"], help="views of augment.TestTimeAugment"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    classifiers = [_Classifier(directory) for directory in options.runs]
    validation = {
        views: [classifier.accuracy(views, "validation") for classifier in classifiers]
        for views in (_ALONE, *options.views)
    }
    chosen = max(options.views, key=lambda views: statistics.mean(validation[views]))
    test = {
        views: [classifier.accuracy(views, "test") for classifier in classifiers]
        for views in (_ALONE, chosen)
    }
    gains = [several - alone for several, alone in zip(test[chosen], test[_ALONE], strict=True)]
    result = {
        "runs": options.runs,
        "machine": classifiers[0].run.environment["machine"],
        "validation": validation,
        "chosen": chosen,
        "test": test,
        "gain": gains,
        "together": {split: _together(classifiers, split) for split in ("validation", "test")},
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for split, table in (("validation", validation), ("test", test)):
        for views, accuracies in table.items():
            print(f"{split:<12}{views:<18}{_text(accuracies)}")
    print(f"{'test':<12}{'gain, in points':<18}{_text(gains)}")
    for split, accuracy in result["together"].items():
        print(f"{split:<12}{'all networks':<18}{100 * accuracy:.2f}")


class _Classifier:
    """A trained network and its images."""

    def __init__(self, directory):
        self.run = Run(directory)
        self.data = self.run.load_data()
        self.model = load_keras_model(self.run.path("model.keras"))

    def accuracy(self, views, split):
        """Return the share of the images of a split that are answered rightly."""
        from augment import TestTimeAugment

        model = self.model if views == _ALONE else TestTimeAugment(self.model, views)
        return evaluate(model, self.data, split=split, bootstrap=0).accuracy.value


def _together(classifiers, split):
    """Return the accuracy of the networks as one."""
    models = [classifier.model for classifier in classifiers]
    return evaluate(models, classifiers[0].data, split=split, bootstrap=0).accuracy.value


def _text(shares):
    percent = [100 * share for share in shares]
    deviation = statistics.stdev(percent) if len(percent) > 1 else 0.0
    each = ", ".join(f"{value:.2f}" for value in percent)
    return f"{statistics.mean(percent):.2f} +- {deviation:.2f} ({each})"


if __name__ == "__main__":
    main()
