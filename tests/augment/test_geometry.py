import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from augment import geometry

SHAPES = [(7, 11, 3), (16, 16, 1), (33, 20, 4), (1, 9, 2), (64, 50, 3)]
MODES = {"constant": "grid-constant", "nearest": "nearest", "reflect": "mirror"}


def pictures(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def affine_matrix(height, width, angle=33.0, zoom=(0.7, 1.2), shear=0.3, move=(1.3, -2.2)):
    """Turn, zoom, shear and move about the centre, in NumPy."""
    angle = np.radians(angle)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.diag(zoom) @ [[1, shear], [0, 1]]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre + move
    return matrix


def tilted_matrix(height, width):
    return affine_matrix(height, width) @ [[1, 0, 0], [0, 1, 0], [0.3 / width, -0.2 / height, 1]]


def places_of(matrix, height, width):
    """Return x and y of the places that a matrix maps the pixels of the result to."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    places = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), 1)
    return places[:2] / places[2]


def by_scipy(image, matrix, order, fill, value=0):
    x, y = places_of(matrix, *image.shape[:2])
    planes = [
        ndimage.map_coordinates(
            plane.astype(np.float64), [y, x], order=order, mode=MODES[fill], cval=value
        )
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("matrix_of", [affine_matrix, tilted_matrix])
@pytest.mark.parametrize("fill", geometry.FILLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_is_that_of_scipy(shape, fill, matrix_of):
    image, matrix = pictures(shape), matrix_of(*shape[:2])
    arguments = {"fill": fill, "value": 30, "perspective": matrix_of is tilted_matrix}
    expected = by_scipy(image, matrix, 1, fill, 30)
    result = geometry.warp(image, matrix, **arguments)
    assert result.dtype == tf.uint8
    np.testing.assert_allclose(result, expected, atol=0.65)
    result = geometry.warp(image.astype(np.float32), matrix, **arguments)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, expected, atol=0.02)


@pytest.mark.parametrize("matrix_of", [affine_matrix, tilted_matrix])
@pytest.mark.parametrize("fill", geometry.FILLS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_is_the_pixel_of_the_rounded_place(shape, fill, matrix_of, dtype):
    image, matrix = pictures(shape).astype(dtype), matrix_of(*shape[:2])
    x, y = (np.floor(place + 0.5).astype(int) for place in places_of(matrix, *shape[:2]))
    pad = {"constant": {"constant_values": 30}, "nearest": {"mode": "edge"}}
    pad = pad.get(fill, {"mode": fill})
    padded = np.pad(image, [(100, 100), (100, 100), (0, 0)], **pad)
    result = geometry.warp(
        image,
        matrix,
        interpolation="nearest",
        fill=fill,
        value=30,
        perspective=matrix_of is tilted_matrix,
    )
    np.testing.assert_array_equal(result, padded[y + 100, x + 100])


@pytest.mark.parametrize("matrix_of", [affine_matrix, tilted_matrix])
@pytest.mark.parametrize("interpolation", geometry.INTERPOLATIONS)
def test_pil_agrees_inside(matrix_of, interpolation):
    image, matrix = pictures((40, 60, 3)), matrix_of(40, 60)
    # PIL counts from the corner of the first pixel.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    shifted = half @ matrix @ np.linalg.inv(half)
    tilted = matrix_of is tilted_matrix
    data = (shifted / shifted[2, 2]).ravel()[: 8 if tilted else 6]
    method = Image.Transform.PERSPECTIVE if tilted else Image.Transform.AFFINE
    expected = np.asarray(
        Image.fromarray(image).transform(
            (60, 40), method, tuple(data), getattr(Image.Resampling, interpolation.upper())
        )
    )
    result = geometry.warp(image, matrix, interpolation=interpolation, perspective=tilted).numpy()
    x, y = places_of(matrix, 40, 60)
    chosen = (x > 0) & (x < 59) & (y > 0) & (y < 39)
    if interpolation == "nearest":
        # Its own fixed point decides where two pixels are equally near.
        chosen &= (np.abs(x % 1 - 0.5) > 2e-3) & (np.abs(y % 1 - 0.5) > 2e-3)
    assert chosen.sum() > 1000
    difference = np.abs(result.astype(int) - expected)[chosen]
    # It cuts off where we round.
    assert difference.max() <= (1 if interpolation == "bilinear" else 0)


@pytest.mark.parametrize(
    ("interpolation", "fill", "perspective"),
    [
        ("bilinear", "constant", False),
        ("bilinear", "nearest", True),
        ("bilinear", "reflect", False),
        ("nearest", "constant", True),
        ("nearest", "reflect", False),
    ],
)
@pytest.mark.sampled(1)
def test_same_bits_with_and_without_xla(interpolation, fill, perspective):
    image = tf.constant(pictures((33, 20, 3)))
    matrix = tf.constant((tilted_matrix if perspective else affine_matrix)(33, 20), tf.float32)

    def run(image, matrix):
        return geometry.warp(
            image,
            matrix,
            interpolation=interpolation,
            fill=fill,
            value=(1, 2, 3),
            perspective=perspective,
        )

    compiled = tf.function(run, jit_compile=True, autograph=False)
    unknown = [tf.TensorSpec([None] * 3, tf.uint8), tf.TensorSpec([3, 3], tf.float32)]
    graph = tf.function(run, autograph=False, input_signature=unknown)
    expected = run(image, matrix)
    np.testing.assert_array_equal(compiled(image, matrix), expected)
    np.testing.assert_array_equal(graph(image, matrix), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("fill", geometry.FILLS)
@pytest.mark.parametrize("interpolation", geometry.INTERPOLATIONS)
@pytest.mark.sampled(4)
def test_the_identity_and_quarter_turns_are_exact(interpolation, fill, perspective, dtype):
    options = {"interpolation": interpolation, "fill": fill, "perspective": perspective}
    for side in (8, 9):
        image = (pictures((side, side, 3)) * 0.99).astype(dtype)
        for turns in range(-4, 9):
            matrix = tf.cast(geometry.rotation_matrix(90.0 * turns, side, side), tf.float32)
            result = geometry.warp(image, matrix, **options)
            np.testing.assert_array_equal(result, np.rot90(image, turns))


def test_value_for_each_channel_fills_and_blends():
    image = np.full((4, 4, 4), 100, np.uint8)
    moved = geometry.translation_matrix(1.5, 0.0)
    result = geometry.warp(image, moved, value=(0, 10, 100, 255.0)).numpy()
    np.testing.assert_array_equal(result[:, 0], np.tile([0, 10, 100, 255], (4, 1)))
    np.testing.assert_array_equal(result[:, 1], np.tile([50, 55, 100, 178], (4, 1)))
    np.testing.assert_array_equal(result[:, 2:], 100)
    moved = geometry.translation_matrix(1.6, 0.0)
    result = geometry.warp(image, moved, value=(0, 10, 100, 255.0), interpolation="nearest")
    np.testing.assert_array_equal(result[:, :2], np.tile([0, 10, 100, 255], (4, 2, 1)))
    np.testing.assert_array_equal(result[:, 2:], np.full((4, 2, 4), 100))


@pytest.mark.parametrize("interpolation", geometry.INTERPOLATIONS)
@pytest.mark.parametrize(
    "matrix",
    [
        geometry.translation_matrix(1e9, 0.0),
        geometry.translation_matrix(-40.0, 1e30),
        [[1, 0, 0], [0, 1, 20000], [0, 0, 1]],
    ],
)
def test_far_away_is_filled(interpolation, matrix):
    image = pictures((8, 8, 1))
    result = geometry.warp(image, matrix, value=7, interpolation=interpolation)
    np.testing.assert_array_equal(result, np.full((8, 8, 1), 7))
    result = geometry.warp(image, matrix, fill="nearest", interpolation=interpolation).numpy()
    assert len(np.unique(result)) <= 8


def test_what_lies_behind_the_eye_is_filled():
    image = np.full((8, 8, 1), 100, np.uint8)
    # The depth is 1 - x / 4: the eye is above column 4.
    matrix = [[1, 0, 0], [0, 1, 0], [-0.25, 0, 1]]
    result = geometry.warp(image, matrix, perspective=True, value=7).numpy()
    assert (result[:, 4:] == 7).all()
    assert (result[0, :4] == 100).sum() >= 3


def test_places_are_exact_in_long_images():
    image = np.linspace(0, 255, 8000, dtype=np.float32)[None, :, None]
    matrix = affine_matrix(1, 8000, angle=0, zoom=(0.9173, 1), shear=0, move=(0.3, 0))
    result = geometry.warp(image, matrix.astype(np.float32), fill="nearest")
    expected = by_scipy(image, matrix, 1, "nearest")
    # One place is off by less than a thousandth of a pixel, of which a level has 31.
    np.testing.assert_allclose(result, expected, atol=1e-3 / 31 + 2e-5)


class TestMatrices:
    def test_rotation_is_anticlockwise_as_in_pil(self):
        image = pictures((21, 21, 3))
        matrix = geometry.rotation_matrix(30.0, 21, 21)
        result = geometry.warp(image, matrix, interpolation="nearest").numpy()
        expected = np.asarray(Image.fromarray(image).rotate(30))
        assert (result == expected).mean() > 0.98

    def test_rotation(self):
        expected = affine_matrix(5, 9, angle=20, zoom=(1, 1), shear=0, move=0)
        np.testing.assert_allclose(geometry.rotation_matrix(20.0, 5, 9), expected, atol=1e-12)

    def test_translation_moves_right_and_down(self):
        image = pictures((5, 6, 1))
        result = geometry.warp(image, geometry.translation_matrix(2.0, -1.0))
        expected = np.zeros_like(image)
        expected[:4, 2:] = image[1:, :4]
        np.testing.assert_array_equal(result, expected)

    def test_zoom(self):
        expected = affine_matrix(5, 9, angle=0, zoom=(0.5, 4), shear=0, move=0)
        np.testing.assert_allclose(geometry.zoom_matrix(2.0, 0.25, 5, 9), expected, atol=1e-12)

    def test_shear(self):
        x, y = places_of(geometry.shear_matrix(0.5, 0.0, 5, 9).numpy(), 5, 9)
        np.testing.assert_allclose(x - np.arange(9), 0.5 * (np.arange(5) - 2)[:, None] + 0 * x)
        np.testing.assert_allclose(y - np.arange(5)[:, None], 0, atol=1e-12)
        x, y = places_of(geometry.shear_matrix(0.0, -0.25, 5, 9).numpy(), 5, 9)
        np.testing.assert_allclose(y - np.arange(5)[:, None], -0.25 * (np.arange(9) - 4) + 0 * y)

    def test_batches(self):
        numbers = tf.constant([1.0, 2.0])
        for matrices, single in (
            (geometry.rotation_matrix(numbers, 5, 9), geometry.rotation_matrix(2.0, 5, 9)),
            (geometry.translation_matrix(numbers, numbers), geometry.translation_matrix(2.0, 2.0)),
            (
                geometry.zoom_matrix(numbers, numbers, 5, 9),
                geometry.zoom_matrix(2.0, 2.0, 5, 9),
            ),
            (
                geometry.shear_matrix(numbers, numbers, 5, 9),
                geometry.shear_matrix(2.0, 2.0, 5, 9),
            ),
        ):
            assert matrices.dtype == tf.float64
            assert matrices.shape == (2, 3, 3)
            np.testing.assert_array_equal(matrices[1], single)

    @pytest.mark.parametrize(("height", "width"), [(9, 9), (40, 57), (2, 300)])
    def test_perspective_solves_the_eight_equations(self, height, width):
        start = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        moves = np.random.default_rng(0).uniform(0, 0.33, (20, 4, 2))
        corners = start + (1 - 2 * start) * moves
        matrices = geometry.perspective_matrix(corners, height, width).numpy()
        sides = np.array([width - 1, height - 1])
        for matrix, moved in zip(matrices, corners * sides, strict=True):
            rows, values = [], []
            for (x, y), (u, v) in zip(moved, start * sides, strict=True):
                rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
                values += [u, v]
            expected = np.append(np.linalg.solve(rows, values), 1).reshape(3, 3)
            np.testing.assert_allclose(matrix / matrix[2, 2], expected, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(matrix[2] @ [*(sides / 2), 1], 1, rtol=1e-12)

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (224, 224), (37, 8000)])
    def test_perspective_with_corners_in_place_is_the_identity(self, height, width):
        corners = [[0, 0], [1, 0], [1, 1], [0, 1]]
        matrix = geometry.perspective_matrix(corners, height, width)
        np.testing.assert_allclose(matrix, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("image", "value", "message"),
    [
        (np.zeros((4, 4, 3)), (1, 2), r"each of the 3 channels, received: \(1, 2\)"),
        (np.zeros((4, 8193, 1)), 0, r"at most 8192 pixels .* received: \(4, 8193, 1\)"),
    ],
)
def test_bad_images(image, value, message):
    with pytest.raises(ValueError, match=message):
        geometry.warp(tf.constant(image, tf.uint8), np.eye(3), value=value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cubic", "constant", 0), "interpolation must be 'bilinear' or 'nearest', received: 'cub"),
        (("nearest", "wrap", 0), "fill must be 'constant' or 'nearest' or 'reflect', received"),
        (("nearest", "constant", 256), r"value must be a number in \[0, 255\], received: 256"),
        (("nearest", "constant", (1, "a")), r"value must be a number in \[0, 255\], received: 'a'"),
    ],
)
@pytest.mark.sampled(1)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        geometry.check_warp(*arguments)
