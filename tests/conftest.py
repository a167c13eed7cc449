"""What all tests share: a quiet TensorFlow, and tiny images and runs made once."""

import os

# Before any test imports TensorFlow; pytest shows a failing test's output anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "agg")
