"""Labelled images from many sources to checked, split, deterministic `tf.data` pipelines.

Needs NumPy and Pillow; TensorFlow is loaded when a pipeline is made.
"""

from recipes.data.decoding import read_image
from recipes.data.image_data import ImageData, Split, reload_arguments
from recipes.data.loading import check_data, load_data
from recipes.data.problems import DataReport, Problem

__all__ = [
    "DataReport",
    "ImageData",
    "Problem",
    "Split",
    "check_data",
    "load_data",
    "read_image",
    "reload_arguments",
]
