"""Rectangles of pixels, one for each image."""

import tensorflow as tf


def box_mask(top, left, bottom, right, height, width):
    """Return a bool mask of shape `(batch, height, width)`, true inside each image's box.

    Args:
        top: int32 `(batch,)`; first row of the box, may lie outside the image.
        left: int32 `(batch,)`; first column.
        bottom: int32 `(batch,)`; row after the last.
        right: int32 `(batch,)`; column after the last.
        height: Rows of the image.
        width: Columns of the image.
    """
    rows, columns = tf.range(height), tf.range(width)
    in_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return in_rows[:, :, None] & in_columns[:, None, :]
