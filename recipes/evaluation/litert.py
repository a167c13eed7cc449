"""TFLite files: running them, timing them, and reading the facts that travel in them.

Nothing here loads TensorFlow: `ai_edge_litert` is a small package of its own.
"""

import functools
import json
import os
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from recipes._quiet import filtered_stderr
from recipes.errors import RunError

# Files in the small zip archive at the end of a `.tflite` file. TFLite's own tools keep label
# files the same way: `unzip -l model.tflite` lists them, the interpreters ignore them.
LABELS_FILE = "labels.txt"
FACTS_FILE = "keras_recipes.json"
_STATUS = Path("/proc/self/status")
# Below it, the brightest value of a file is of pixels in [0, 1] or [-1, 1], not in [0, 255].
_LARGEST_UNIT = 16


@functools.cache
def _interpreter_class() -> type:
    """Return LiteRT's interpreter, or TensorFlow's own where LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        return tf.lite.Interpreter
    return Interpreter


def runtime_name() -> str:
    """Return the name and version of the package that runs `.tflite` files here.

    Example:
        >>> runtime_name()  # doctest: +SKIP
        'ai-edge-litert 2.3.0'
    """
    package = "ai-edge-litert" if "litert" in _interpreter_class().__module__ else "tensorflow"
    return f"{package} {metadata.version(package)}"


def read_facts(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `tuning.export_tflite` appended to a `.tflite` file.

    Args:
        path: A `.tflite` file.

    Returns:
        The content of `keras_recipes.json`: `"class_names"`, `"contract"`, `"temperature"`,
        `"quantization"`, `"provenance"`. A foreign file gives what it has: `{"class_names": [...]}`
        from a `labels.txt`, or an empty dictionary.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if FACTS_FILE in names:
                return json.loads(archive.read(FACTS_FILE))
            if LABELS_FILE in names:
                return {"class_names": archive.read(LABELS_FILE).decode("utf-8").splitlines()}
    except (zipfile.BadZipFile, ValueError):
        pass
    return {}


class LiteRTModel:
    """A `.tflite` file with one image input and one output of class probabilities.

    Args:
        path: The file.
        threads: Threads the interpreter may use.

    Attributes:
        input_shape: `(height, width, channels)`.
        input_dtype: `np.uint8`, `np.int8` or `np.float32`.
        output_dtype: As the file gives it; `__call__` always returns float32.
        output_step: By which the outputs of an integer file rise; 0 for float.
        batch_size: The only batch size it takes, or `None` if it takes any.
        classes: Number of outputs for an image.

    Raises:
        RunError: If the file cannot be loaded or has other inputs and outputs.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self.path = Path(path)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, received: {threads}")
        try:
            with filtered_stderr():
                self._interpreter = _interpreter_class()(
                    model_path=str(self.path), num_threads=threads
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            message = (
                str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            )
            raise RunError(f"cannot load {self.path} as a TFLite file: {message}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4:
            shapes = [detail["shape"].tolist() for detail in inputs]
            raise RunError(f"{self.path} must take one batch of images, it takes: {shapes}")
        if len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
            shapes = [detail["shape"].tolist() for detail in outputs]
            raise RunError(f"{self.path} must give one row of classes an image, it gives: {shapes}")
        self._input, self._output = inputs[0], outputs[0]
        self._batch = int(self._input["shape"][0])
        self.batch_size = None if self._input["shape_signature"][0] == -1 else self._batch
        self.input_shape = tuple(int(size) for size in self._input["shape"][1:])
        self.input_dtype = self._input["dtype"]
        self.output_dtype = self._output["dtype"]
        self.output_step = float(self._output["quantization"][0])
        self.classes = int(self._output["shape"][-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the file on one batch.

        Args:
            images: Shape `(n, height, width, channels)`, values in `[0, 255]`, n at least 1 (or
                `batch_size`). The interpreter prepares itself anew when n changes, so keep it the
                same over calls.

        Returns:
            float32, shape `(n, classes)`.
        """
        if len(images) != self._batch:
            self._interpreter.resize_tensor_input(
                self._input["index"], [len(images), *self.input_shape]
            )
            self._interpreter.allocate_tensors()
            self._batch = len(images)
        self._interpreter.set_tensor(self._input["index"], self._as_input(images))
        self._interpreter.invoke()
        outputs = self._interpreter.get_tensor(self._output["index"])
        if np.issubdtype(self.output_dtype, np.integer):
            scale, zero_point = self._output["quantization"]
            return (outputs.astype(np.float32) - zero_point) * np.float32(scale)
        return outputs.astype(np.float32, copy=False)

    @property
    def delegate(self) -> str:
        """What runs the operations: `"XNNPACK"`, `"none"` (LiteRT's own kernels), or `"unknown"`.

        With XNNPACK, what it has no kernel for (16-bit activations, say) still runs outside it.
        """
        details = getattr(self._interpreter, "_get_ops_details", None)
        if details is None:
            return "unknown"
        # The interpreter adds an operation of this name for each part that a delegate takes over,
        # and XNNPACK is the only delegate that it applies by itself.
        taken = any("DELEGATE" in operation["op_name"].upper() for operation in details())
        return "XNNPACK" if taken else "none"

    def time_calls(self, image: np.ndarray, runs: int) -> np.ndarray:
        """Call the file `runs` times; return the seconds of each, shape `(runs,)`."""
        seconds = np.empty(runs)
        for run in range(runs):
            start = time.perf_counter()
            self(image)
            seconds[run] = time.perf_counter() - start
        return seconds

    def example(self) -> np.ndarray:
        """Return one image of noise (or a batch, if the file takes no other), seeded."""
        shape = (self.batch_size or 1, *self.input_shape)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def _as_input(self, images: np.ndarray) -> np.ndarray:
        """Give the images the dtype and the quantisation that the file wants."""
        if not np.issubdtype(self.input_dtype, np.integer) or images.dtype == self.input_dtype:
            return images.astype(self.input_dtype, copy=False)
        scale, zero_point = self._input["quantization"]
        limits = np.iinfo(self.input_dtype)
        if self.input_dtype in (np.uint8, np.int8) and 255 * scale < _LARGEST_UNIT:
            # Such files take the bytes of the image (int8: less 128), whatever scale they state.
            scale, zero_point = 1.0, limits.min
        levels = np.rint(images.astype(np.float32) / (scale or 1.0)) + zero_point
        return np.clip(levels, limits.min, limits.max).astype(self.input_dtype)


def measure_latency(
    path: str | os.PathLike, threads: int = 1, runs: int = 50, warmup: int = 5
) -> dict[str, float | int]:
    """Time a `.tflite` file on single images: image in, interpreter, probabilities out.

    Args:
        path: The file.
        threads: Threads the interpreter may use.
        runs: Timed calls, at least 1.
        warmup: Calls before the clock starts.

    Returns:
        `{"median", "p90", "threads", "runs"}`, the first two in milliseconds.

    Example:
        >>> measure_latency("runs/fashion/model.tflite")  # doctest: +SKIP
        {'median': 0.213, 'p90': 0.241, 'threads': 1, 'runs': 50}
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, received: {runs}")
    model = LiteRTModel(path, threads)
    image = model.example()
    model.time_calls(image, warmup)
    median, p90 = np.percentile(model.time_calls(image, runs), [50, 90]) * 1e3
    return {
        "median": round(float(median), 4),
        "p90": round(float(p90), 4),
        "threads": threads,
        "runs": runs,
    }


def peak_memory(path: str | os.PathLike, threads: int = 1) -> dict[str, float] | None:
    """Measure the memory that running a `.tflite` file takes, in a process of its own.

    Args:
        path: The file.
        threads: Threads the interpreter may use.

    Returns:
        In MB (10^6 bytes): `"peak"`, the most the process ever held, Python and NumPy included, and
        `"file"`, by how much that is more than before the file was loaded; `None` where the system
        does not tell (it is read from `/proc`).

    Raises:
        RunError: If the file cannot be run.
    """
    if not _STATUS.exists():
        return None
    # ru_maxrss would not do: after fork and exec it still holds the peak of the parent.
    code = "import sys; from recipes.evaluation import litert; litert._report_memory(*sys.argv[1:])"
    child = subprocess.run(
        [sys.executable, "-c", code, os.fspath(path), str(threads)], capture_output=True, text=True
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no reason given"]
        raise RunError(f"cannot measure the memory of {path}: {lines[-1]}")
    return json.loads(child.stdout.splitlines()[-1])


def _report_memory(path: str, threads: str) -> None:
    """Run a file in this process and print what memory that took."""
    _interpreter_class()
    before = _status("VmRSS")
    model = LiteRTModel(path, int(threads))
    model.time_calls(model.example(), 3)
    peak = _status("VmHWM")
    print(json.dumps({"peak": round(peak, 2), "file": round(max(0.0, peak - before), 2)}))


def _status(name: str) -> float:
    """Return a line of the status of this process, in MB."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RunError(f"{_STATUS} does not state {name}")
