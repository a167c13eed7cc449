"""The validation images that `compress` chooses by: those of the data, or others in their place."""

import dataclasses
from typing import TYPE_CHECKING, Any

from recipes.errors import DataError

if TYPE_CHECKING:
    from recipes.data import ImageData
    from recipes.data.image_data import Split


def with_validation(data: "ImageData", validation: Any) -> "ImageData":
    """Return the data with other validation images, if there are any; check that there are some."""
    if validation is not None:
        data = dataclasses.replace(
            data, splits={**data.splits, "validation": _given_split(validation, data)}
        )
    if not data.splits.get("validation"):
        raise DataError(
            "compress chooses by validation images: the data has none; give "
            "validation=(images, labels), or load the data with validation=0.1"
        )
    return data


def _given_split(validation, data: "ImageData") -> "Split":
    """Return a pair of images and labels as a split that fits the data."""
    from recipes.data.arrays import check_images, check_labels
    from recipes.data.image_data import Split

    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise DataError(
            "validation must be a pair (images, labels), received: " + type(validation).__name__
        )
    images = check_images(validation[0], "validation")
    labels, _ = check_labels({"validation": validation[1]}, data.class_names)
    labels = labels["validation"]
    if tuple(images.shape[1:]) != tuple(data.image_shape) or len(labels) != len(images):
        raise DataError(
            f"validation: expected images of shape {(len(labels), *data.image_shape)} for "
            f"{len(labels)} labels, received {images.shape}"
        )
    return Split("validation", labels, tuple(data.image_shape), images=images)
