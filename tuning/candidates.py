"""How each candidate of `compress` becomes a file: the same in `compress` and in `replay`.

What a file is worth is measured by `tuning.candidate_exam`.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.evaluation.classifier import KerasClassifier
from recipes.evaluation.litert import read_facts
from recipes.files import atomic_path
from tuning.calibration_data import calibration_indices

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the making of files depends on, beside model and images.

    Attributes:
        epochs: Passes over the training images in each fine-tuning.
        sparsity: Share of zeros in pruned kernels.
        calibration_count: Training images for calibration.
        batch_size: Of fine-tuning.
        seed: Of all random numbers.
        integer_ends: Whether int8 files take int8 and give int8, without a float softmax at the
            end.
        student: Network to be taught, as `tuning._student.choose_student` reads it; `None` if
            there is to be none.
        student_epochs: Passes over the training images in teaching it.
    """

    epochs: int = 3
    sparsity: float = 0.8
    calibration_count: int = 300
    batch_size: int = 64
    seed: int = 0
    integer_ends: bool = False
    student: str | None = None
    student_epochs: int | None = None


class Workshop:
    """Makes the files of candidates; what several need is made once.

    Args:
        model: The trained classifier.
        data: Its images; only those of the split `"train"` are used, and those of `"validation"` to
            calibrate a student.
        settings: See there.
        folder: For what is kept between candidates, such as the pruned model.
        batches: Gives the batches to train so many epochs on, with hard labels if asked for; by
            default the training images in seeded order, as they are.
    """

    def __init__(
        self,
        model: "keras.Model",
        data: "ImageData",
        settings: Settings,
        folder: Path,
        batches: Callable[[int, bool], Any] | None = None,
    ):
        self.model = model
        self.settings = settings
        self._data = data
        self._folder = folder
        self._batches = batches
        self._cache: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}

    def make(self, name: str, path: Path, restored: tuple[str, ...] = ()) -> None:
        """Write the file of a candidate; there is none if this raises.

        Args:
            name: Of the candidate, one of `accuracy_aware.CANDIDATES`.
            path: Where.
            restored: For `"mixed"`: names of the operations that stay float.
        """
        if name == "mixed":
            self.write_mixed(path, restored)
        elif name == "pruned-int8":
            self._export(self._pruned(), path, "int8")
        elif name == "distilled-int8":
            self._export(self._student(), path, "int8")
        elif name in ("qat", "pruned-qat"):
            self._train_aware(name, path)
        else:
            self._export(self.model, path, name)

    def results(self) -> dict[str, tuple[str, ...]]:
        """Return the operations that have to be float for one result to stay unrounded.

        Those are the operation that gives it and all that read it: an int8 operation rounds what it
        reads, whoever gave it. One operation alone in float would only lose its own weights'
        rounding, not that of its result.

        Returns:
            Operation to operations, itself first, in the order of the file.
        """
        from tuning.flatbuffer import read_model
        from tuning.litert_quantizer import operations

        content = self._float_file()
        names = {operation.index: operation.name for operation in operations(content)}
        operators = read_model(content).subgraphs[0].operators
        groups = {}
        for index, name in names.items():
            given = set(operators[index].outputs)
            readers = [
                other
                for place, other in names.items()
                if place != index and given.intersection(operators[place].inputs)
            ]
            groups[name] = (name, *readers)
        return groups

    def write_mixed(self, path: Path, restored: tuple[str, ...]) -> None:
        """Write the int8 file with some operations in float."""
        from tuning.tflite import collect_facts, in_float32, write_checked

        images = self.calibration_images()
        content = self.mixed(restored)
        classifier = KerasClassifier(in_float32(self.model))
        facts = collect_facts(classifier, "int8", self._contract(restored), len(images))
        # What it computes is measured on all validation images afterwards.
        write_checked(path, content, facts, lambda file: None)

    def mixed(self, restored: tuple[str, ...]) -> bytes:
        """Return the int8 file with some operations in float; calibrates at the first call only."""
        from tuning.litert_quantizer import quantize_static

        return quantize_static(
            self._float_file(), self.calibration_images(), skip=restored, cache=self._cache
        )

    def calibration_images(self) -> np.ndarray:
        """Return training images, the classes in turn."""
        if "calibration" not in self._kept:
            train = self._data.splits["train"]
            chosen = calibration_indices(train.labels, self.settings.calibration_count)
            self._kept["calibration"] = train.load(chosen)
        return self._kept["calibration"]

    def _contract(self, restored: tuple[str, ...] = ()):
        provenance = {"data": self._data.source, "data_fingerprint": self._data.fingerprint}
        if restored:
            provenance["operations_in_float"] = list(restored)
        return {
            **self._data.input_contract(),
            "class_names": list(self._data.class_names),
            "provenance": provenance,
        }

    def _export(self, model, path, precision):
        from tuning.tflite import export_tflite

        images = self.calibration_images() if precision == "int8" else None
        if precision == "int8" and self.settings.integer_ends:
            precision = "int8-only"
        export_tflite(
            model,
            path,
            precision=precision,
            calibration_images=images,
            contract=self._contract(),
        )

    def _float_file(self):
        """Return the bytes of the float file without what is appended to it."""
        if "float" not in self._kept:
            from tuning.conversion import convert
            from tuning.tflite import in_float32

            self._kept["float"] = convert(in_float32(self.model), None)
        return self._kept["float"]

    def _pruned(self):
        """Return the pruned model, from the disk if a run before this one made it."""
        from recipes.evaluation.classifier import load_keras_model
        from tuning.pruning import prune

        path = self._folder / "pruned.keras"
        if not path.exists():
            pruned = prune(
                self.model,
                self._training(),
                sparsity=self.settings.sparsity,
                epochs=self.settings.epochs,
                steps_per_epoch=self._steps(),
                seed=self.settings.seed,
            )
            with atomic_path(path) as temporary:
                pruned.save(temporary)
        return load_keras_model(path)

    def _student(self):
        """Return the student, taught and calibrated; from the disk like the pruned model."""
        import keras

        from recipes.evaluation.classifier import load_keras_model
        from tuning._student import build_student, choose_student, with_probabilities
        from tuning.distillation import distill

        path = self._folder / "student.keras"
        if not path.exists():
            # Its random weights, too, come from the seed.
            keras.utils.set_random_seed(self.settings.seed)
            student = build_student(
                choose_student(self.settings.student, None), self.model, self._data
            )
            taught = distill(
                student,
                self.model,
                self._training(self.settings.student_epochs, hard_labels=True),
                epochs=self.settings.student_epochs,
                steps_per_epoch=self._steps(),
                run_directory=self._folder,
                seed=self.settings.seed,
            )
            contract = self._contract()
            contract.pop("class_names")
            with atomic_path(path) as temporary:
                with_probabilities(taught, self._data, contract).save(temporary)
        return load_keras_model(path)

    def _train_aware(self, name, path):
        from tuning.flatbuffer import with_integer_ends
        from tuning.quantization import quantize_aware
        from tuning.tflite import write_checked

        pruned = name == "pruned-qat"
        trained = quantize_aware(
            self._pruned() if pruned else self.model,
            self._training(),
            preserve="sparsity" if pruned else None,
            epochs=self.settings.epochs,
            steps_per_epoch=self._steps(),
            seed=self.settings.seed,
        )
        if not self.settings.integer_ends:
            trained.export(path, contract=self._contract())
            return
        with tempfile.TemporaryDirectory() as scratch:
            whole = trained.export(Path(scratch) / path.name, contract=self._contract())
            facts = {**read_facts(whole), "quantization": "int8-only"}
            content = with_integer_ends(whole.read_bytes())
        write_checked(path, content, facts, lambda file: None)

    def _training(self, epochs=None, hard_labels=False):
        """Return batches for so many epochs, or without end, the same in each run."""
        if self._batches is not None:
            return self._batches(epochs or self.settings.epochs, hard_labels)
        return self._data.splits["train"].pipeline(
            self.settings.batch_size, shuffle=True, seed=self.settings.seed, epochs=None
        )

    def _steps(self):
        return -(-len(self._data.splits["train"]) // self.settings.batch_size)
