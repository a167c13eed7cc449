"""The numbers of a run: their names, how they are written, what they mean."""

from typing import NamedTuple

from recipes.evaluation.wording import NONE, decimals, interval, percent


class Definition(NamedTuple):
    """A number of metrics.json.

    Attributes:
        key: Its key.
        name: What people call it.
        digits: Decimals to show, or `None` for a percentage.
        meaning: Its definition, in words.
    """

    key: str
    name: str
    digits: int | None
    meaning: str

    def show(self, metrics: dict | None) -> str:
        """Return the number as text, a dash where it is not there."""
        value = (metrics or {}).get(self.key)
        if self.digits == 0:
            return NONE if value is None else f"{value:,.0f}"
        return percent(value) if self.digits is None else decimals(value, self.digits)


DEFINITIONS = (
    Definition(
        "accuracy",
        "Accuracy",
        None,
        "Share of the images whose most probable class is the true one. Its interval is Wilson's, "
        "at 95% confidence.",
    ),
    Definition(
        "top5_accuracy",
        "Top-5 accuracy",
        None,
        "Share of the images whose true class is among the five most probable.",
    ),
    Definition(
        "balanced_accuracy",
        "Balanced accuracy",
        None,
        "Mean recall of the classes; each counts the same however many images it has.",
    ),
    Definition(
        "macro_f1",
        "Macro F1",
        4,
        "Mean over the classes of F1, the harmonic mean of precision and recall.",
    ),
    Definition(
        "macro_auroc",
        "Macro AUROC",
        4,
        "Mean over the classes of how often an image of the class gets a higher probability for it "
        "than an image of another class; 0.5 is guessing.",
    ),
    Definition(
        "macro_average_precision",
        "Macro average precision",
        4,
        "Mean over the classes of the mean precision at each image of the class, images sorted by "
        "the probability of the class.",
    ),
    Definition(
        "nll",
        "Negative log-likelihood",
        4,
        "Mean of −ln(probability given to the true class), in nats; 0 is perfect, ln(classes) is "
        "guessing.",
    ),
    Definition(
        "brier",
        "Brier score",
        4,
        "Mean squared distance between the probabilities and the truth, summed over the classes; "
        "0 is perfect, 2 the worst.",
    ),
    Definition(
        "ece",
        "Expected calibration error (ECE)",
        4,
        "Mean gap between confidence and accuracy over 15 equal bins of confidence, weighted by "
        "their images.",
    ),
    Definition(
        "mce",
        "Maximum calibration error",
        4,
        "The largest such gap of a bin; one with few images can decide it.",
    ),
    Definition(
        "adaptive_ece",
        "Adaptive calibration error",
        4,
        "The same mean gap over 15 bins that hold equally many images.",
    ),
    Definition(
        "classwise_ece",
        "Class-wise calibration error",
        4,
        "Mean over the classes of the calibration error of that class's own probability.",
    ),
    Definition(
        "debiased_ece",
        "Debiased calibration error",
        4,
        "Root mean square gap over 15 bins that hold equally many images, less what chance adds to "
        "it; 0 where chance explains all of it.",
    ),
)
# What a training run costs and is; the same keys in metrics.json.
RUN_DEFINITIONS = (
    Definition(
        "temperature",
        "Temperature",
        4,
        "Number by which the logits are divided before the softmax, fitted on the validation "
        "images; above 1 the network was overconfident.",
    ),
    Definition("parameters", "Parameters", 0, "Numbers in the model, trained or not."),
    Definition("epochs", "Epochs", 0, "Passes over the training images."),
    Definition(
        "selected_epoch", "Epoch kept", 0, "The epoch at whose end the weights of the model stood."
    ),
    Definition("train_seconds", "Training seconds", 1, "Time from the first epoch to the last."),
)
CLASS_MEANINGS = {
    "name": "Name of the class.",
    "recall": "Share of the class's images that are found.",
    "recall_interval": "Wilson's interval of the recall, at 95% confidence.",
    "precision": "Share of the predictions of the class that are right.",
    "f1": "Harmonic mean of precision and recall.",
    "auroc": "How often an image of the class gets a higher probability for it than another image.",
    "average_precision": "Mean precision at each image of the class, sorted by its probability.",
    "support": "Images of the class: the n of its recall.",
    "taken_for": "The class it is most often taken for.",
    "taken_for_count": "How many of its images are.",
}
BIN_MEANINGS = {
    "lower": "Lower end of the bin of confidence, itself outside the bin.",
    "upper": "Upper end of the bin, inside it.",
    "count": "Images whose confidence lies in the bin: the n of its row.",
    "confidence": "Their mean confidence, the probability of the predicted class.",
    "accuracy": "Share of them that are classified rightly.",
    "accuracy_interval": "Wilson's interval of that share, at 95% confidence.",
}
EPOCH_MEANINGS = {
    "epoch": "Number of the epoch, from 1.",
    "loss": "Mean training loss over the epoch, on augmented images while the weights move.",
    "accuracy": "Share classified rightly of the training images, as they were augmented.",
    "val_loss": "Loss on the validation images at the end of the epoch.",
    "val_accuracy": "Share of the validation images classified rightly.",
    "val_ece": "Expected calibration error on the validation images, before any temperature.",
    "val_worst_recall": "Recall of the class with the lowest, on the validation images.",
    "val_recall": "Recall of each class on the validation images, in the order of the classes.",
    "learning_rate": "Of the last update of the epoch.",
    "trainable_parameters": "Parameters that the optimizer may change.",
    "seconds": "Time of the epoch with its validation.",
    "images_per_second": "Training images a second, without validation.",
}
FILE_MEANINGS = {
    "file": "Name of the exported file.",
    "quantization": "Type of its weights; int8 ones compute in integers.",
    "bytes": "Its size.",
    "size_ratio": "Its size divided by that of the float32 file.",
    "gzip_bytes": "Its size compressed by gzip.",
    "accuracy": "Share of the images that it classifies rightly.",
    "accuracy_change": "Its accuracy minus that of model.keras on the same images.",
    "ece": "Its expected calibration error.",
    "nll": "Its negative log-likelihood.",
    "agreement": "Share of the images on which it predicts the class that model.keras predicts.",
    "max_difference": "Largest difference of any probability from that of model.keras.",
    "latency_ms": "Time of one call with one image, in milliseconds: median and 90% quantile.",
}
DIFFERENCE_MEANINGS = {
    "accuracy": "Accuracy of the run minus that of the reference on the same images. Interval of "
    "Bonett and Price for paired shares, 95% confidence.",
    "only_run": "Images that only the run classifies rightly.",
    "only_reference": "Images that only the reference classifies rightly.",
    "p_value": "Exact McNemar test: how often chance would make these two counts at least so "
    "unequal if both were equally accurate.",
    "p_adjusted": "The same adjusted for the number of pairs on the page (Holm).",
    "nll": "Negative log-likelihood of the run minus that of the reference, mean over the same "
    "images; below 0 the run is better. Student's interval of the mean, 95% confidence.",
    "brier": "Brier score of the run minus that of the reference, mean over the same images; below "
    "0 the run is better. Student's interval of the mean, 95% confidence.",
    "classes": "Recall of the run minus that of the reference on the images of the class, with the "
    "interval of Bonett and Price.",
    "confusion": "Change of the share of a true class (row) that is given a class (column).",
    "n": "Test images, the same for both.",
}
IMAGES_MEANING = "How many images the column is measured on."
NOISE_MEANING = (
    "The ECE of a perfectly calibrated model with the same confidences: mean and 95% quantile over "
    "200 simulated outcomes. A measured ECE up to the quantile may be chance."
)


def written_interval(definition: Definition, bounds) -> str | None:
    """Return the interval of a number as text, with the number's decimals."""
    if bounds is None:
        return None
    if definition.digits is None:
        return interval(bounds)
    return " to ".join(decimals(bound, definition.digits) for bound in bounds)
