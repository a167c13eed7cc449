"""One face for every finished classifier: a run directory, a `.keras` file, a `.tflite` file.

classifier = load_classifier("runs/fashion")
probabilities = classifier.predict(images)      # uint8 (N, H, W, C) -> float32 (N, classes)
names = [classifier.class_names[k] for k in probabilities.argmax(axis=1)]
"""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from callbacks.calibration import softmax
from recipes._quiet import import_tensorflow
from recipes.errors import DataError, RecipesError, RunError
from recipes.evaluation.litert import LiteRTModel, read_facts

# How far a row of probabilities may miss 1: by float32 rounding; by that of an int8 softmax of few
# classes, which has steps of 1/256. Logits miss it by far more, on some image at least.
_ROUNDING = 1e-4
_SUM_TOLERANCE = 0.1


class Classifier:
    """Class probabilities for batches of images; made by `load_classifier`.

    Attributes:
        path: The file it was loaded from, or `None`.
        kind: `"keras"`, `"tflite"` or `"ensemble"`.
        class_names: One name an output; `"0"`, `"1"`, ... if the file holds none.
        contract: What the model takes: at least `"image_shape"` `[H, W, C]`, `"dtype"`,
            `"value_range"`, `"color"` and `"fit"` (how image files are brought to that shape).
        temperature: The calibration temperature inside the model; 1 if there is none.
        named: Whether the class names come with the model, rather than being counted.
        from_logits: Whether the model gives logits, of which the softmax is taken.
    """

    kind: str
    from_logits = False
    # By which the outputs of an integer file rise; 0 for float.
    _step = 0.0

    def __init__(
        self,
        path: Path | None,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        class_names: list[str] | None = None,
        contract: dict[str, Any] | None = None,
        temperature: float = 1.0,
    ):
        self.path = path
        self.named = bool(class_names)
        self.class_names = tuple(class_names or map(str, range(classes)))
        if len(self.class_names) != classes:
            raise RunError(
                f"{self._name()} has {classes} outputs but {len(self.class_names)} class names"
            )
        self.contract = {
            "image_shape": list(image_shape),
            "dtype": "uint8",
            "value_range": [0, 255],
            "color": "grayscale" if image_shape[-1] == 1 else "rgb",
            "fit": "crop",
            **(contract or {}),
        }
        if None not in image_shape:
            # A contract may be that of a model inside this one, which takes images of another size.
            self.contract["image_shape"] = list(image_shape)
        self.temperature = float(temperature)
        self._image_shape = tuple(image_shape)

    def predict(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Return class probabilities.

        Args:
            images: A batch, shape `(N, height, width, channels)`, uint8 (or any number type with
                values in `[0, 255]`). A single image is `image[np.newaxis]`.
            batch_size: Images that go through the model at a time.

        Returns:
            float32, shape `(N, classes)`; each row sums to 1.

        Raises:
            DataError: If the images have another shape, type or range.
            RecipesError: If what the model gives are not probabilities, or not finite.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, received: {batch_size}")
        images = self._checked(images)
        if len(images) == 0:
            return np.zeros((0, len(self.class_names)), np.float32)
        return self._as_probabilities(self._predict(images, batch_size))

    def _predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        raise NotImplementedError

    def _name(self) -> str:
        return str(self.path) if self.path else "the model"

    def _checked(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        expected = f"a batch of shape {('N', *self._image_shape)}".replace("'", "")
        if images.ndim == len(self._image_shape):
            raise DataError(
                f"expected {expected}, received one array of shape {images.shape}; "
                "give a single image as image[np.newaxis]"
                + (", grey images a last axis of size 1" if self._image_shape[-1] == 1 else "")
            )
        wrong = images.ndim != 4 or any(
            wanted not in (None, size)
            for wanted, size in zip(self._image_shape, images.shape[1:], strict=True)
        )
        if wrong:
            raise DataError(f"expected {expected}, received shape {images.shape}")
        if images.dtype == np.uint8:
            return images
        if not (np.issubdtype(images.dtype, np.number) and np.isrealobj(images)):
            raise DataError(f"images must be uint8 or numbers in [0, 255], received {images.dtype}")
        if images.size:
            self._check_range(images)
        return images.astype(np.float32)

    @staticmethod
    def _check_range(images: np.ndarray) -> None:
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 255):  # Also catches NaN.
            raise DataError(
                f"images must lie in [0, 255], received values from {low:g} to {high:g}"
            )
        if 0 < high <= 1 and np.any(images != np.rint(images)):
            raise DataError(
                "images must lie in [0, 255], received values in [0, 1]: "
                "do not rescale them, the model does"
            )

    def _as_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        if outputs.shape[1] < 2:
            raise RunError(
                f"{self._name()} gives one number an image; expected a probability for each of two "
                "classes or more: make [1 - p, p] of a sigmoid p"
            )
        bad = ~np.isfinite(outputs).all(axis=1)
        if bad.any():
            raise RecipesError(
                f"{self._name()} gives outputs that are not finite numbers for {int(bad.sum())} of "
                f"{len(bad)} images"
            )
        sums = outputs.sum(axis=1, dtype=np.float64)
        errors = np.abs(sums - 1)
        # Each class may be rounded by half a step, and many classes all down to 0.
        tolerance = max(_SUM_TOLERANCE, outputs.shape[1] * self._step / 2)
        plausible = np.all(errors <= tolerance) and outputs.min() >= 0
        if self.from_logits:
            if plausible:
                raise RecipesError(
                    f"from_logits is set, but {self._name()} already gives probabilities: leave it "
                    "out"
                )
            return softmax(outputs).astype(np.float32)
        if not plausible:
            hint = "does it end in logits? then say from_logits=True"
            if outputs.min() >= 0 and outputs.max() <= 1:
                hint = "does it end in sigmoids, each a label of its own? expected a softmax"
            raise RecipesError(
                f"the outputs of {self._name()} are not probabilities (rows sum to "
                f"{sums.min():.3g} ... {sums.max():.3g}, expected 1): {hint}"
            )
        if np.all(errors <= _ROUNDING):
            return outputs
        # An int8 softmax: its steps of 1/256 leave sums like 0.988.
        sums = sums[:, np.newaxis]
        even = np.full(outputs.shape, 1 / outputs.shape[1])
        return np.divide(outputs, sums, out=even, where=sums > 0).astype(np.float32)


class KerasClassifier(Classifier):
    """A Keras model that gives class probabilities.

    Args:
        model: A `keras.Model`, or the path of a `.keras` file.

    Raises:
        RunError: If the file cannot be loaded, or the model does not take one batch of images and
            give one row of classes an image.
    """

    kind = "keras"

    def __init__(self, model):
        path = None
        if isinstance(model, (str, os.PathLike)):
            path = Path(model)
            model = load_keras_model(path)
        self.model = model
        name = path or f"model {model.name!r}"
        inputs = getattr(model, "inputs", None) or []
        outputs = getattr(model, "outputs", None) or []
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = [tuple(tensor.shape) for tensor in inputs]
            raise RunError(f"{name} must take one batch of images, it takes: {shapes}")
        if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
            shapes = [tuple(tensor.shape) for tensor in outputs]
            raise RunError(f"{name} must give one row of classes an image, it gives: {shapes}")
        head = calibrated_head(model)
        super().__init__(
            path,
            tuple(inputs[0].shape[1:]),
            outputs[0].shape[1],
            class_names=head.class_names if head else None,
            contract=head.contract if head else None,
            temperature=head.temperature if head else 1.0,
        )

    @functools.cached_property
    def _forward(self):
        """The model as one traced function for batches of any size.

        `model.predict` would trace again for each odd last batch. The concrete function is called:
        of others TensorFlow counts how often they are traced, over all classifiers, and warns.
        """
        import tensorflow as tf

        signature = [tf.TensorSpec([None, *self.model.inputs[0].shape[1:]], tf.float32)]
        function = tf.function(lambda x: self.model(x, training=False), input_signature=signature)
        return function.get_concrete_function()

    def _predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        starts = range(0, len(images), batch_size)
        batches = (images[start : start + batch_size].astype(np.float32) for start in starts)
        outputs = np.concatenate([self._forward(batch).numpy() for batch in batches])
        # The last layer of a model in mixed precision may give half precision.
        return outputs.astype(np.float32, copy=False)


class LiteRTClassifier(Classifier):
    """A `.tflite` file that gives class probabilities, run by LiteRT without TensorFlow.

    Args:
        path: The file.
        threads: Threads the interpreter may use.

    Raises:
        RunError: If the file cannot be loaded, or does not take one batch of images and give one
            row of classes an image.
    """

    kind = "tflite"

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self.litert = LiteRTModel(path, threads)
        self._step = self.litert.output_step
        facts = read_facts(path)
        contract = dict(facts.get("contract", {}))
        if "provenance" in facts:
            contract["provenance"] = facts["provenance"]
        super().__init__(
            Path(path),
            self.litert.input_shape,
            self.litert.classes,
            class_names=facts.get("class_names"),
            contract=contract,
            temperature=facts.get("temperature", 1.0),
        )

    def _predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        batch_size = self.litert.batch_size or min(batch_size, len(images))
        rows = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            missing = batch_size - len(batch)
            if missing:  # Filling the last batch is cheaper than preparing the interpreter anew.
                filling = np.zeros((missing, *batch.shape[1:]), batch.dtype)
                batch = np.concatenate([batch, filling])
            rows.append(self.litert(batch)[: batch_size - missing])
        return np.concatenate(rows)


def calibrated_head(model):
    """Return the last `CalibratedSoftmax` of a Keras model, nested models included, or `None`."""
    from recipes.layers.calibrated_softmax import CalibratedSoftmax

    for layer in reversed(getattr(model, "layers", [])):
        if isinstance(layer, CalibratedSoftmax):
            return layer
        found = calibrated_head(layer)
        if found is not None:
            return found
    return None


def load_keras_model(path: str | os.PathLike):
    """Load a `.keras` file that may hold the layers of this package.

    Raises:
        RunError: If it is not a `.keras` file, is damaged, or holds unknown layers.
    """
    import_tensorflow()
    import keras

    # They register with Keras what a file may hold.
    import augment.presets
    import augment.test_time  # noqa: F401
    import recipes.layers  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds here; what is wrong is in the file.
        # Keras wraps the cause in whole configurations; it comes last, behind this mark.
        cause = str(error).split("Exception encountered:")[-1].split("Full object config:")[0]
        reason = " ".join(cause.split())[:300] or type(error).__name__
        raise RunError(f"cannot load {path} as a Keras model: {reason}") from error


def load_classifier(path: str | os.PathLike) -> Classifier:
    """Load a finished classifier.

    Args:
        path: A run directory (its `model.keras`, or else its `model.tflite`), a `.keras` file, or a
            `.tflite` file.

    Raises:
        RunError: If nothing there can be loaded; the message says what was expected.

    Example:
        >>> load_classifier("runs/fashion").class_names[:2]  # doctest: +SKIP
        ('T-shirt/top', 'Trouser')
    """
    path = Path(path)
    if path.is_dir():
        path = _model_of_run(path)
    if not path.exists():
        raise RunError(f"no such file or run directory: {path}")
    if path.suffix == ".keras":
        return KerasClassifier(path)
    if path.suffix == ".tflite":
        return LiteRTClassifier(path)
    raise RunError(f"expected a run directory, a .keras or a .tflite file, received: {path}")


def _model_of_run(directory: Path) -> Path:
    for name in ("model.keras", "model.tflite"):
        if (directory / name).is_file():
            return directory / name
    if (directory / "recipe.json").is_file():
        raise RunError(
            f"the run in {directory} has no model.keras yet: "
            "it did not finish; `recipes train --resume` continues it"
        )
    raise RunError(f"not a run directory: {directory} has neither recipe.json nor model.keras")
