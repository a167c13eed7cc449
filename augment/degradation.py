"""Degrade images as JPEG compression does."""

import numpy as np
import tensorflow as tf

from augment import _validation, color
from augment._barrier import materialize
from augment._operation import Operation, operation

# RGB to luma and to the two chroma of JFIF (less their offset of 128), one row each, and the
# chroma's part in red, green and blue, one column each; libjpeg's whole numbers, 65536 for 1.
_TO_YCBCR = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]])
_FROM_CHROMA = np.array([[0, -22554, 116130], [91881, -46802, 0]])

# Tables K.1 (luma) and K.2 (chroma) of the standard: steps at quality 50.
_LUMA_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMA_STEPS = np.full((8, 8), 99)
_CHROMA_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def _cosine_matrix():
    """Return the cosine transform of 8 values in libjpeg's whole numbers, `(8 frequencies, 8)`.

    8192 times the usual one, times the root of 8. Its numbers are what the flow graph of Loeffler,
    Ligtenberg and Moschytz gives with rounded constants; the inverse transform is its transpose.
    """
    ends, middle = np.eye(8, dtype=np.int32)[:4], np.eye(8, dtype=np.int32)[:3:-1]
    sums, differences = ends + middle, ends - middle
    outer, inner = sums[0] - sums[3], sums[1] - sums[2]
    shared = 4433 * (outer + inner)
    rows = [None] * 8
    rows[0], rows[4] = 8192 * sums.sum(0), 8192 * (sums[0] + sums[3] - sums[1] - sums[2])
    rows[2], rows[6] = shared + 6270 * outer, shared - 15137 * inner
    seventh, sixth, fifth, fourth = differences
    shared = 9633 * (fourth + fifth + sixth + seventh)
    third, last = shared - 16069 * (fourth + sixth), shared - 3196 * (fifth + seventh)
    first, second = -7373 * (fourth + seventh), -20995 * (fifth + sixth)
    rows[7], rows[5] = 2446 * fourth + first + third, 16819 * fifth + second + last
    rows[3], rows[1] = 25172 * sixth + second + third, 12299 * seventh + first + last
    return np.stack(rows)


_COSINES = _cosine_matrix()


def compress_jpeg(image, quality):
    """Return an image as it is after it was saved as JPEG and read again.

    Everything that loses something is done: colours to luma and chroma, chroma at half the size,
    the cosine transform of blocks of 8 x 8, rounded to the steps of the standard's tables scaled as
    libjpeg does, and all the way back, with libjpeg's smooth enlargement of chroma. Entropy coding
    loses nothing and is left out. The whole numbers are libjpeg's, so that the result is that of
    Pillow to the bit (from a width of 5 pixels).

    Args:
        image: uint8 or float32 in `[0, 255]` (rounded to whole levels first), `(height, width,
            channels)`, grey or RGB (also if the number of channels is unknown).
        quality: Scalar whole number from 1 to 100.

    Returns:
        Same shape and dtype, whole numbers.

    Raises:
        ValueError: If the image has neither 1 nor 3 channels.

    Source:
        ITU-T T.81 (JPEG), annexes A and K; JFIF 1.02; libjpeg's "islow" transform and "fancy"
        enlargement.
    """
    image = color.check_color("JPEG", image)
    height, width, channels = _validation.image_sizes(image)
    levels = image
    if image.dtype != tf.uint8:
        levels = tf.cast(tf.clip_by_value(image, 0.0, 255.0) + 0.5, tf.uint8)
    steps = _steps(quality)
    if channels == 1:
        plane = tf.reshape(tf.cast(levels, tf.int32), [1, height, width])
        (result,) = _quantized([plane], [steps[0]])
    else:
        planes = tf.reshape(_to_ycbcr(levels), [3, height, width])
        luma, chroma = _quantized([planes[:1], _halved(planes[1:])], steps)
        chroma = chroma[:, : (height + 1) // 2, : (width + 1) // 2]
        chroma = _doubled(_doubled(chroma, 1, 0, 0, 0), 2, 8, 7, 4)[:, :height, :width]
        result = _to_rgb(luma, chroma)
    return tf.cast(tf.reshape(result, tf.shape(image)), image.dtype)


def _to_ycbcr(levels):
    """Return luma and chroma, int32 `(3, pixels)` in `[0, 255]`, of uint8 RGB."""
    opaque = levels[0, 0, 0]
    # Taken apart as bytes: a quarter of the memory that whole numbers take.
    colors = materialize(tf.transpose(tf.reshape(levels, [-1, 3])), opaque)
    halves = [[32768], [32767 + (128 << 16)], [32767 + (128 << 16)]]
    total = tf.constant(halves, tf.int32)
    for place in range(3):
        weights = tf.constant(_TO_YCBCR[:, place : place + 1], tf.int32)
        total += weights * tf.cast(colors[place : place + 1], tf.int32)
    return materialize(tf.bitwise.right_shift(total, 16), opaque)


def _to_rgb(luma, chroma):
    """Return RGB, float32 whole numbers `(pixels, 3)`, of int32 planes."""
    # Sums stay below 2**24, where float32 is exact, and XLA is at its best with such a product.
    matrix = tf.constant(_FROM_CHROMA, tf.float32)
    chroma = tf.cast(tf.reshape(chroma - 128, [2, -1]), tf.float32)
    shift = tf.floor(tf.matmul(chroma, matrix, transpose_a=True) * 2.0**-16 + 0.5)
    return tf.clip_by_value(tf.cast(tf.reshape(luma, [-1, 1]), tf.float32) + shift, 0.0, 255.0)


def _steps(quality):
    """Return the steps of luma and of chroma for a quality, float32 `(64,)` each."""
    quality = tf.cast(quality, tf.int32)
    scale = tf.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    base = tf.constant(np.stack([_LUMA_STEPS.ravel(), _CHROMA_STEPS.ravel()]), tf.int32)
    return tf.unstack(tf.clip_by_value((base * scale + 50) // 100, 1, 255))


def _quantized(planes, steps):
    """Round the frequencies of planes to steps.

    Args:
        planes: List of int32 `(planes, height, width)` in `[0, 255]`.
        steps: List of int32 `(64,)`, rows of each one's table one after the other.

    Returns:
        List of the same shapes, dtype and range.
    """
    blocks, grids, counts = [], [], []
    for part in planes:
        height, width = _validation.image_sizes(part)[1:]
        padded = _extended(_extended(part, 1, -height % 8), 2, -width % 8)
        rows, columns = _validation.image_sizes(padded)[1:]
        grids.append([part.shape[0], rows // 8, 8, columns // 8, 8])
        counts.append(part.shape[0] * (rows // 8) * (columns // 8))
        # Place in the block first, then the block: whatever is done is done to long rows.
        ordered = tf.transpose(tf.reshape(padded, grids[-1]), [2, 4, 0, 1, 3])
        blocks.append(materialize(tf.reshape(ordered - 128, [8, 8, -1]), steps[0][0]))
    tables = [
        tf.broadcast_to(tf.reshape(table, [8, 8, 1]), [8, 8, count])
        for table, count in zip(steps, counts, strict=True)
    ]
    changed = _through_frequencies(tf.concat(blocks, axis=2), tf.concat(tables, axis=2))
    restored = []
    for part, grid, block in zip(planes, grids, tf.split(changed, counts, axis=2), strict=True):
        ordered = tf.reshape(block, [8, 8, grid[0], grid[1], grid[3]])
        whole = tf.reshape(
            tf.transpose(ordered, [2, 3, 0, 4, 1]), [grid[0], grid[1] * 8, grid[3] * 8]
        )
        height, width = _validation.image_sizes(part)[1:]
        restored.append(materialize(whole[:, :height, :width], steps[0][0]))
    return restored


def _through_frequencies(blocks, steps):
    """Transform `(8 rows, 8 columns, blocks)` of int32, round to steps, transform back."""
    opaque = steps[0, 0, 0]
    blocks = _transformed(materialize(blocks, opaque), _COSINES, 1, 11, opaque)
    blocks = _transformed(blocks, _COSINES, 0, 15, opaque)
    blocks = materialize(_rounded_to(blocks, steps), opaque)
    blocks = _transformed(blocks, _COSINES.T, 0, 11, opaque)
    blocks = _transformed(blocks, _COSINES.T, 1, 18, opaque)
    return materialize(tf.clip_by_value(blocks + 128, 0, 255), opaque)


def _transformed(blocks, matrix, axis, bits, opaque):
    """Multiply an axis of `(8, 8, blocks)` by a matrix; divide by `2**bits`, rounded."""
    shape = [-1 if place == axis else 1 for place in range(3)]
    total = 1 << (bits - 1)
    for place in range(8):
        column = tf.constant(matrix[:, place].reshape(shape), tf.int32)
        total += column * tf.gather(blocks, [place], axis=axis)
    return materialize(tf.bitwise.right_shift(total, bits), opaque)


def _rounded_to(frequencies, steps):
    """Round frequencies (eight times too large) to multiples of steps, halves away from 0."""
    # With the half, no quotient is near a whole number, and `floor` is right even where a graph's
    # optimizer turns a division by a constant into a product.
    sizes = tf.cast(tf.abs(frequencies) + 4 * steps, tf.float32) + 0.5
    counts = tf.cast(tf.floor(sizes / tf.cast(8 * steps, tf.float32)), tf.int32)
    return tf.sign(frequencies) * counts * steps


def _extended(planes, axis, count):
    """Repeat the last row or column `count` times."""
    if isinstance(count, int) and count == 0:
        return planes
    size = _validation.image_sizes(planes)[axis]
    last = tf.gather(planes, [size - 1], axis=axis)
    return tf.concat([planes, tf.repeat(last, count, axis=axis)], axis=axis)


def _halved(planes):
    """Halve the sizes of int32 `(2, height, width)`; columns are filled up to whole blocks."""
    height, width = _validation.image_sizes(planes)[1:]
    # Columns are repeated before they are halved; rows, in `_quantized`, after.
    planes = _extended(_extended(planes, 1, height % 2), 2, -width % 16)
    rows, columns = (size // 2 for size in _validation.image_sizes(planes)[1:])
    quads = tf.reshape(planes, [2, rows, 2, columns, 2])
    sums = quads[:, :, 0, :, 0] + quads[:, :, 0, :, 1] + quads[:, :, 1, :, 0] + quads[:, :, 1, :, 1]
    # Quarters are rounded down and up by turns, as libjpeg does.
    return tf.bitwise.right_shift(sums + 1 + tf.range(columns) % 2, 2)


def _doubled(planes, axis, bias, other_bias, bits):
    """Double the size along an axis: three parts of the nearer value and one of the next."""
    sizes = list(_validation.image_sizes(planes))
    places = tf.range(sizes[axis])
    before = tf.gather(planes, tf.maximum(places - 1, 0), axis=axis)
    after = tf.gather(planes, tf.minimum(places + 1, sizes[axis] - 1), axis=axis)
    pairs = tf.stack([3 * planes + before + bias, 3 * planes + after + other_bias], axis=axis + 1)
    sizes[axis] = 2 * sizes[axis]
    doubled = tf.bitwise.right_shift(tf.reshape(pairs, sizes), bits)
    return materialize(doubled, doubled[0, 0, 0])


@operation
def random_jpeg_quality(*, quality=(30, 95)):
    """Degrade each image as saving it as JPEG does, at a quality of its own.

    Needs grey or RGB images. Halves the size of chroma, as is usual.

    Args:
        quality: Lowest and highest quality, whole numbers from 1 to 100, both drawn; or one number
            for all images. There is none that changes nothing: strength scales the probability.

    Example:
        >>> images = tf.reshape(100 + tf.range(64) // 16, (1, 8, 8, 1))
        >>> result = random_jpeg_quality(tf.cast(images, tf.uint8), [0, 0], quality=1)
        >>> tf.unique(tf.reshape(result, [-1])).y.numpy().tolist()
        [96]

    Source:
        ITU-T T.81 (JPEG); see `compress_jpeg`.
    """
    low, high = _validation.check_spread("quality", quality, _validation.check_integer, 1, 100)

    def sample(draw):
        return {"quality": draw.integer("quality", low, high + 1)}

    return Operation(sample, compress_jpeg, scales="probability")
