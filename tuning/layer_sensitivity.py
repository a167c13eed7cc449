"""How much each layer of a classifier suffers from pruning, and how to share zeros out by it."""

import dataclasses
import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from html import escape

import keras
import numpy as np

from recipes.errors import ConfigError, DataError, RunError
from recipes.files import write_text
from tuning._fine_tuning import (
    check_data,
    check_model,
    find_objective,
    one_of,
    plain_copy,
    share,
)
from tuning.kernels import choose, text_table, zero_share

_LOG = logging.getLogger("keras_recipes.sensitivity")
# Told apart with every kind of colour blindness.
_COLOURS = ("#1f5fa8", "#c4501b", "#14805c", "#8a4fbf")


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What `sensitivity` measured; `print` shows it as a table.

    Attributes:
        sparsities: Shares of zeros that were tried, rising.
        accuracy: Of the model as it is.
        loss: Of the model as it is.
        images: How many images it was measured on.
        layers: A dictionary a layer: `name`, `kind`, `weights`, `zeros` (the share it has already),
            and `accuracy` and `loss`, lists of one value a sparsity; a loss that is not finite is
            `None`.
    """

    sparsities: tuple[float, ...]
    accuracy: float
    loss: float
    images: int
    layers: tuple[dict, ...]

    def to_dict(self) -> dict:
        """Return it as plain JSON types."""
        return dataclasses.asdict(self) | {
            "sparsities": list(self.sparsities),
            "layers": [dict(layer) for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Sensitivity":
        """Return what `to_dict` was made of."""
        rows = tuple(dict(layer) for layer in values["layers"])
        return cls(**{**values, "sparsities": tuple(values["sparsities"]), "layers": rows})

    def __str__(self) -> str:
        """Return the table as text: accuracies, the layer that suffers most first."""
        header = ("layer", "kind", "weights", *(f"{value:.0%}" for value in self.sparsities))
        rows = [
            (
                row["name"],
                row["kind"],
                f"{row['weights']:,}",
                *(f"{value:.2%}" for value in row["accuracy"]),
            )
            for row in self._by_harm()
        ]
        first = (
            f"accuracy {self.accuracy:.2%}, loss {self.loss:.4f} on {self.images:,} images; with "
            "one layer pruned, not trained:"
        )
        return f"{first}\n{text_table(header, rows, left=2)}"

    def plot(self, path: str | os.PathLike) -> None:
        """Write accuracy over sparsity as an SVG: the four layers that suffer most in colour.

        Raises:
            RunError: If `path` cannot be written.
        """
        try:
            write_text(path, self._drawing())
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}") from error

    def _by_harm(self):
        return sorted(self.layers, key=lambda row: row["accuracy"][-1])

    def _drawing(self):
        from recipes.evaluation.plots import line_chart

        rows = self._by_harm()
        shown = rows[: len(_COLOURS)]
        # The grey curves first, so that the others lie on them.
        order = [*rows[len(shown) :], *shown]
        names = ["backdrop"] * (len(rows) - len(shown))
        names += [f"c{place}" for place in range(len(shown))]
        chart = str(
            line_chart(
                [0, *(round(100 * value, 2) for value in self.sparsities)],
                [[self.accuracy, *row["accuracy"]] for row in order],
                label="accuracy over the share of zeros, one curve a pruned layer",
                names=names,
            )
        )
        style = "text{font:11px sans-serif;fill:#555}.gridline{stroke:#ddd}"
        style += ".series{fill:none;stroke-width:2}.backdrop{stroke:#bbb;stroke-width:1}"
        legend = '<text x="50" y="12">accuracy by % of zeros in one layer</text>'
        for place, (row, colour) in enumerate(zip(shown, _COLOURS, strict=False)):
            style += f".c{place}{{stroke:{colour}}}"
            y = 268 + 15 * place
            legend += f'<path d="M50 {y - 4}h22" class="series c{place}"/>'
            legend += f'<text x="80" y="{y}">{escape(row["name"])}</text>'
        height = 256 + 15 * len(shown) + 8
        start = chart.index(">")
        opening = chart[:start].replace("0 0 440 256", f"0 0 440 {height}")
        body = chart[start + 1 :].replace("</svg>", f"{legend}</svg>\n")
        return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{body}'


def sensitivity(
    model: keras.Model,
    data,
    sparsities: Sequence[float] = (0.5, 0.7, 0.8, 0.9),
    *,
    layers: str | Sequence[str] | None = None,
) -> Sensitivity:
    """Measure a classifier with one layer pruned at a time, without training.

    In a copy of the model the smallest weights of one kernel are set to 0, as many as asked, and
    put back exactly before the next. The model given is not touched.

    Args:
        model: Functional or sequential Keras 3 classifier of one input and one output of shape
            `(batch, classes)`.
        data: `tf.data.Dataset` of batches `(images, labels)` to measure on, held in memory;
            some 1,000 images of all classes tell layers apart: not the first ones of images that
            lie class by class. Not the test images: choices follow from it.
        sparsities: Shares of zeros to try, in (0, 1).
        layers: As for `prune`.

    Raises:
        ConfigError: If a sparsity is out of range or a layer unknown.
        DataError: If the data is empty, endless, or does not fit the model.

    Example:
        >>> found = sensitivity(model, validation)                        # doctest: +SKIP
        >>> print(found)                                                  # doctest: +SKIP
        >>> prune(model, batches, targets=allocate(found, 0.8))           # doctest: +SKIP

    Source:
        Li et al., Pruning Filters for Efficient ConvNets, https://arxiv.org/abs/1608.08710,
        section 3.2, with single weights in place of filters.
    """
    check_model(model, "sensitivity")
    tried = sorted({share("sparsities", value) for value in sparsities})
    if not tried or not tried[0]:
        raise ConfigError(f"sparsities must be in (0, 1), received: {tuple(sparsities)}")
    choose(model, "sensitivity", layers)
    batch = check_data(data, model)
    if int(data.cardinality()) == -1:
        raise DataError("data never ends: expected batches to measure on, such as data.take(10)")
    copy = plain_copy(model)
    exam = _Exam(copy, find_objective(model, batch), data)
    accuracy, loss = exam.judge()
    rows = []
    for kernel in choose(copy, "sensitivity", layers):
        before = kernel.array.copy()
        judged = []
        for value in tried:
            kernel.variable.assign(pruned(before, value))
            judged.append(exam.judge())
        kernel.variable.assign(before)
        _LOG.info("%s: %s", kernel.name, judged)
        rows.append(
            {
                "name": kernel.name,
                "kind": kernel.kind,
                "weights": kernel.size,
                "zeros": zero_share(before),
                "accuracy": [found[0] for found in judged],
                "loss": [found[1] if math.isfinite(found[1]) else None for found in judged],
            }
        )
    return Sensitivity(tuple(tried), accuracy, loss, exam.images, tuple(rows))


def allocate(
    found: Sensitivity,
    overall: float = 0.8,
    *,
    maximum: float = 0.95,
    measure: str = "loss",
) -> dict[str, float]:
    r"""Share out zeros over layers so that together they should harm least.

    Minimises $\sum_l h_l(s_l)$ over sparsities with $\sum_l n_l s_l = s \sum_l n_l$, where $n_l$ is
    the number of weights of layer $l$ and $h_l$ its measured harm, as if the harms of layers added
    up. Between measured sparsities $h_l$ is the lower convex hull of the points, which begin with
    no harm at the zeros that the layer has. By Lagrange's rule all layers end at the same harm per
    weight: the cheapest pieces of all hulls are taken until there are zeros enough, so the result
    is the exact minimum of the hulls.

    Args:
        found: From `sensitivity`.
        overall: Share of zeros over all these layers together, in [0, 1).
        maximum: Largest sparsity of a layer; never beyond the largest that was measured.
        measure: Harm is the rise of the `"loss"` or the fall of the `"accuracy"`.

    Returns:
        `{layer: sparsity}`, for `prune(targets=...)`.

    Raises:
        ConfigError: If an argument is out of range, or so many zeros cannot be had.

    Example:
        >>> rows = [{"name": name, "kind": "Dense", "weights": 100, "zeros": 0.0,
        ...          "accuracy": [0.9, 0.9], "loss": loss}
        ...         for name, loss in (("tough", [1.0, 1.1]), ("tender", [1.2, 2.0]))]
        >>> allocate(Sensitivity((0.5, 0.9), 0.9, 1.0, 50, tuple(rows)), 0.6)
        {'tough': 0.9, 'tender': 0.3}

    Source:
        Everett, Generalized Lagrange Multiplier Method, 1963; Shoham and Gersho, Efficient Bit
        Allocation for an Arbitrary Set of Quantizers, 1988, with zeros in place of bits.
    """
    overall, maximum = share("overall", overall), share("maximum", maximum)
    one_of("measure", measure, ("loss", "accuracy"))
    total = sum(row["weights"] for row in found.layers)
    given = {row["name"]: row["weights"] * row["zeros"] for row in found.layers}
    pieces = sorted(
        (slope, place, length)
        for place, row in enumerate(found.layers)
        for slope, length in _pieces(_harms(found, row, measure, maximum), row["weights"])
    )
    missing = overall * total - sum(given.values())
    if missing > sum(length for _, _, length in pieces) + 1e-9 * total:
        reached = (sum(given.values()) + sum(length for _, _, length in pieces)) / total
        raise ConfigError(
            f"overall: with at most {min(maximum, found.sparsities[-1]):g} a layer, measured up to "
            f"{found.sparsities[-1]:g}, {reached:.4g} is the most, received: {overall:g}"
        )
    for _, place, length in pieces:
        if missing <= 0:
            break
        taken = min(length, missing)
        given[found.layers[place]["name"]] += taken
        missing -= taken
    return {row["name"]: round(given[row["name"]] / row["weights"], 6) for row in found.layers}


def pruned(array: np.ndarray, sparsity: float) -> np.ndarray:
    """Return an array with its smallest values by size at 0, to the whole value nearest.

    Example:
        >>> pruned(np.array([3.0, -1.0, 2.0, -4.0]), 0.5)
        array([ 3.,  0.,  0., -4.])
    """
    kept = max(round(array.size * (1 - sparsity)), 1)
    order = np.argsort(-np.abs(array).ravel(), kind="stable")
    result = np.zeros_like(array).ravel()
    result[order[:kept]] = array.ravel()[order[:kept]]
    return result.reshape(array.shape)


def _harms(found, row, measure, maximum):
    """Return points (sparsity, harm), beginning with what costs nothing."""
    begin = row["zeros"]
    points = [(begin, 0.0)]
    for value, loss, accuracy in zip(found.sparsities, row["loss"], row["accuracy"], strict=True):
        if value <= begin or loss is None:
            continue
        harm = loss - found.loss if measure == "loss" else found.accuracy - accuracy
        before, past = points[-1], value > maximum
        if past and maximum > before[0]:
            part = (maximum - before[0]) / (value - before[0])
            points.append((maximum, before[1] + part * (harm - before[1])))
        if past:
            break
        points.append((value, harm))
    return points


def _pieces(points, weights) -> Iterator[tuple[float, float]]:
    """Give the pieces of the lower convex hull: harm a weight, and how many weights."""
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    for before, after in itertools.pairwise(hull):
        yield _slope(before, after) / weights, (after[0] - before[0]) * weights


def _slope(before, after):
    return (after[1] - before[1]) / (after[0] - before[0])


class _Exam:
    """Judges a model, whose weights may change between, on the same images."""

    def __init__(self, model, objective, data):
        import tensorflow as tf

        self._batches = [batch[:2] for batch in data]
        self.images = sum(len(images) for images, _ in self._batches)

        @tf.function(reduce_retracing=True)
        def sums(images, labels):
            outputs = model(images, training=False)
            losses = objective.losses(labels, outputs)
            return tf.reduce_sum(objective.hits(labels, outputs)), tf.reduce_sum(losses)

        self._sums = sums

    def judge(self):
        """Return accuracy and mean loss."""
        sums = np.zeros(2)
        for images, labels in self._batches:
            sums += [float(value) for value in self._sums(images, labels)]
        accuracy, loss = sums / self.images
        return float(accuracy), float(loss)
