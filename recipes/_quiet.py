"""TensorFlow's start-up noise kept off the screen, real warnings let through."""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# What TensorFlow 2.20 and 2.21 print to the standard error stream when nothing is wrong: which
# instructions and libraries it found. Any other line is passed on.
_NOISE = re.compile(
    rb"""
    oneDNN\ custom\ operations\ are\ on
    | Could\ not\ find\ cuda\ drivers
    | This\ TensorFlow\ binary\ is\ optimized
    | To\ enable\ the\ following\ instructions
    | To\ enable\ them\ in\ other\ operations
    | Unable\ to\ register\ cu(DNN|FFT|BLAS)\ factory
    | computation\ placer\ already\ registered
    | All\ log\ messages\ before\ absl::InitializeLog
    | failed\ call\ to\ cuInit
    | no\ NVIDIA\ GPU\ device\ is\ present
    | TF-TRT\ Warning
    | rebuild\ TensorFlow\ with\ the\ appropriate\ compiler\ flags
    | If\ you\ would\ like\ to\ use\ GPU,\ please
    | Skipping\ registering\ GPU\ devices
    | cpu_feature_guard | cpu_utils | cuda_dnn | cuda_blas | cuda_fft | cudart_stub
    | Created\ TensorFlow\ Lite\ XNNPACK\ delegate
    """,
    re.VERBOSE,
)


@contextlib.contextmanager
def filtered_stderr() -> Iterator[None]:
    """Hold back what libraries write to file descriptor 2; pass on all but the known noise.

    Works below Python, where TensorFlow's C++ logging writes. Without a real file descriptor (in
    some notebooks) nothing is filtered.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held:
                if line.strip() and not _NOISE.search(line):
                    os.write(2, line)


def import_tensorflow(*, wake: bool = True) -> None:
    """Import TensorFlow and Keras and wake the devices, without the start-up noise.

    Args:
        wake: Let it look for devices and compute something, after which it can join no cluster.
    """
    if "tensorflow" in sys.modules:
        return
    # Information lines (level 0) of later stages say nothing a user can act on; warnings stay.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with filtered_stderr():
        import keras
        import tensorflow

        if wake and keras.backend.backend() == "tensorflow":
            tensorflow.config.list_physical_devices()
            tensorflow.constant(0)
    tensorflow.get_logger().addFilter(no_false_alarm)


def no_false_alarm(record: logging.LogRecord) -> bool:
    """Return whether a message of TensorFlow may be true: a filter for its logger.

    It warns of functions that are traced again and again, and counts by the place in the source.
    Each Keras model has `fit` and `predict` functions of its own, all from the same place, so where
    some models are trained one after the other it warns of what is right.
    """
    message = record.getMessage()
    return not ("TensorFlowTrainer.make_" in message and "tf.function retracing" in message)
