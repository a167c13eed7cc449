"""The kernels of a Keras 3 model: which can be pruned or clustered, and what is in them."""

import dataclasses
import fnmatch
import gzip
from collections.abc import Sequence

import keras
import numpy as np

from recipes.errors import ConfigError, nearest
from recipes.models.replay import check_replayable, trace

# Kind of layer -> the attribute that holds what TF-MOT prunes and clusters, and its axis along
# which the inputs of one output lie side by side in a TFLite file.
_PRUNABLE = {
    "Conv1D": ("kernel", -2),
    "Conv2D": ("kernel", -2),
    "Conv2DTranspose": ("kernel", -1),
    "SeparableConv2D": ("pointwise_kernel", -2),
    "Dense": ("kernel", -2),
}
# TF-MOT leaves depthwise kernels alone: few weights, much loss.
WITH_KERNEL = {**_PRUNABLE, "DepthwiseConv2D": ("kernel", None)}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of one layer.

    Attributes:
        name: Of the layer; inside nested models and blocks behind theirs, as `backbone/conv1`.
        kind: Class name of the layer.
        layer: The Keras 3 layer.
        variable: The kernel; of a separable convolution the pointwise one.
        input_axis: Axis of the inputs that an output sums over; `None` for depthwise kernels.
    """

    name: str
    kind: str
    layer: keras.layers.Layer
    variable: keras.Variable
    input_axis: int | None

    @property
    def array(self) -> np.ndarray:
        """What the kernel holds now."""
        return np.asarray(self.variable)

    @property
    def size(self) -> int:
        """How many weights it has."""
        return int(np.prod(self.variable.shape))


@dataclasses.dataclass(frozen=True)
class WeightTable:
    """What `describe_weights` found; `print` shows it as a table.

    Attributes:
        rows: A dictionary a layer: `name`, `kind`, `shape`, `weights`, `zeros` (share in [0, 1]),
            `distinct` (values), `two_of_four` (bool), `gzip_bytes`.
        total: `weights`, `zeros` and `gzip_bytes` of all of them.
    """

    rows: tuple[dict, ...]
    total: dict

    def __getitem__(self, name: str) -> dict:
        """Return the row of a layer."""
        found = {row["name"]: row for row in self.rows}
        if name not in found:
            raise ConfigError(f"no layer {name!r} with a kernel{nearest(name, found)}")
        return found[name]

    def to_dict(self) -> dict:
        """Return it as plain JSON types."""
        return {"layers": [dict(row) for row in self.rows], "total": dict(self.total)}

    def __str__(self) -> str:
        """Return the table as text."""
        header = ("layer", "kind", "shape", "zeros", "distinct", "2:4", "gzip bytes")
        lines = [
            (
                row["name"],
                row["kind"],
                "x".join(map(str, row["shape"])),
                f"{row['zeros']:.2%}",
                f"{row['distinct']:,}",
                "yes" if row["two_of_four"] else "no",
                f"{row['gzip_bytes']:,}",
            )
            for row in self.rows
        ]
        total = ("all", "", f"{self.total['weights']:,}", f"{self.total['zeros']:.2%}", "", "")
        return text_table(header, [*lines, (*total, f"{self.total['gzip_bytes']:,}")], left=3)


def describe_weights(model: keras.Model) -> WeightTable:
    """Count the zeros and the distinct values in the kernels of a model.

    Args:
        model: Functional or sequential; nested models are opened. Convolutions (depthwise ones
            too) and dense layers are shown; of a separable convolution the pointwise kernel.

    Returns:
        The table. `two_of_four` says whether of each four inputs of an output that lie side by side
        at most two are not zero; `gzip_bytes` is what gzip makes of the kernel in float32.

    Raises:
        ConfigError: If the model is a subclass with its own `call`.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")])
        >>> _ = model.layers[0].kernel.assign([[1, 0], [0, 0], [2, 1], [0, 0]])
        >>> row = describe_weights(model)["dense"]
        >>> row["zeros"], row["distinct"], row["two_of_four"]
        (0.625, 3, True)
    """
    rows = []
    for kernel in find_kernels(model, "describe_weights", WITH_KERNEL):
        array = kernel.array.astype(np.float32)
        rows.append(
            {
                "name": kernel.name,
                "kind": kernel.kind,
                "shape": list(array.shape),
                "weights": array.size,
                "zeros": zero_share(array),
                "distinct": len(np.unique(array)),
                "two_of_four": is_two_of_four(array, kernel.input_axis),
                "gzip_bytes": len(gzip.compress(array.tobytes(), mtime=0)),
            }
        )
    weights = sum(row["weights"] for row in rows)
    zeros = sum(row["weights"] * row["zeros"] for row in rows) / max(weights, 1)
    size = sum(row["gzip_bytes"] for row in rows)
    return WeightTable(tuple(rows), {"weights": weights, "zeros": zeros, "gzip_bytes": size})


def find_kernels(model: keras.Model, purpose: str, known=None) -> list[Kernel]:
    """Return the kernels that can be pruned, in the order in which they run; shared ones once.

    Args:
        model: Functional or sequential.
        purpose: Name of the function that asks, for messages.
        known: Kinds of layers to return; by default those that TF-MOT prunes.
    """
    known = known or _PRUNABLE
    kernels, seen = [], set()
    for call in calls_of(model, purpose):
        kind = type(call.operation).__name__
        if kind not in known or id(call.operation) in seen:
            continue
        seen.add(id(call.operation))
        attribute, axis = known[kind]
        variable = getattr(call.operation, attribute)
        kernels.append(Kernel(call.name, kind, call.operation, variable, axis))
    return kernels


def frozen(kernels: list[Kernel]) -> list[str]:
    """Return the names of the kernels that training would leave as they are."""
    return [kernel.name for kernel in kernels if not kernel.variable.trainable]


def calls_of(model: keras.Model, purpose: str):
    """Return the calls of a model, or say why it has none that can be seen."""
    check_replayable(model, purpose)
    return trace(model).calls


def choose(
    model: keras.Model, purpose: str, layers: str | Sequence[str] | None, more: Sequence[str] = ()
) -> list[Kernel]:
    """Return the kernels of the layers that a user names.

    Args:
        model: Functional or sequential.
        purpose: Name of the function that asks, for messages.
        layers: Names or patterns as for `fnmatch`; by default every convolution and dense layer but
            the first and the last.
        more: Names or patterns of further layers.

    Raises:
        ConfigError: If a pattern meets no such layer, or no layer is chosen.
    """
    kernels = find_kernels(model, purpose)
    if layers is None:
        chosen = {kernel.name for kernel in kernels[1:-1]}
    else:
        chosen = set()
        for pattern in [layers] if isinstance(layers, str) else layers:
            chosen |= set(matching(model, kernels, pattern))
    for pattern in more:
        chosen |= set(matching(model, kernels, pattern))
    if not chosen:
        raise ConfigError(
            f"{purpose} has no layer to work on: {model.name!r} has {len(kernels)} convolution and "
            "dense layers, and the first and the last are left alone unless layers= names them"
        )
    return [kernel for kernel in kernels if kernel.name in chosen]


def matching(model: keras.Model, kernels: list[Kernel], pattern: str) -> list[str]:
    """Return the names that a name or pattern means; raise `ConfigError` if there are none."""
    names = [kernel.name for kernel in kernels]
    if pattern in names:
        return [pattern]
    found = fnmatch.filter(names, pattern)
    if found:
        return found
    others = {call.name: type(call.operation).__name__ for call in trace(model).calls}
    if pattern in others:
        raise ConfigError(
            f"layer {pattern!r} ({others[pattern]}) has no kernel to prune or cluster: "
            f"only {', '.join(_PRUNABLE)} have"
        )
    raise ConfigError(
        f"layers: no convolution or dense layer is called {pattern!r}{nearest(pattern, names)}"
    )


def zero_share(array: np.ndarray) -> float:
    """Return the share of exact zeros, in [0, 1]."""
    return float(np.mean(array == 0)) if array.size else 0.0


def is_two_of_four(array: np.ndarray, axis: int | None) -> bool:
    """Return whether of each four weights along `axis` at most two are not zero.

    Example:
        >>> is_two_of_four(np.array([[1.0], [0.0], [0.0], [2.0]]), -2)
        True
        >>> is_two_of_four(np.array([[1.0], [3.0], [0.0], [2.0]]), -2)
        False
    """
    if axis is None or array.shape[axis] < 4:
        return False
    lines = np.moveaxis(array != 0, axis, -1)
    lines = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(0, -lines.shape[-1] % 4)])
    return bool((lines.reshape(-1, 4).sum(axis=1) <= 2).all())


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows of text in columns, the first `left` of them to the left."""
    lines = [header, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
