import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

import augment
from augment import affine
from augment._chain import chain_of, stages
from augment._compiled import compiled
from augment._draw import Draw

OPERATIONS = {
    "rotation": augment.random_rotation.operation(degrees=40),
    "translation": augment.random_translation.operation(horizontal=0.3, vertical=0.2),
    "zoom": augment.random_zoom.operation(factor=(0.5, 2.0), anisotropic=True),
    "shear": augment.random_shear.operation(horizontal=30, vertical=20),
    "perspective": augment.random_perspective.operation(distortion_scale=0.6),
    "affine": augment.random_affine.operation(rotation=40, shear=9, perspective=0.3, zoom=0.4),
}
NEUTRAL = {
    "rotation": augment.random_rotation.operation(degrees=0),
    "translation": augment.random_translation.operation(horizontal=0, vertical=0),
    "zoom": augment.random_zoom.operation(factor=0),
    "shear": augment.random_shear.operation(horizontal=0, vertical=0),
    "perspective": augment.random_perspective.operation(distortion_scale=0),
    "affine": augment.random_affine.operation(rotation=0, translation=0, zoom=0),
}


def matrices_of(operation, count, height=9, width=13, strength=1.0):
    drawn, _ = operation.draw(tf.constant([1, 0]), (count, height, width, 3), strength)
    return drawn["matrix"].numpy()


def by_scipy(image, matrix, value=0):
    """Return the image warped by one matrix: bilinear, a constant outside."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    x, y, depth = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), 1)
    planes = [
        ndimage.map_coordinates(
            plane.astype(float), [y / depth, x / depth], order=1, mode="grid-constant", cval=value
        )
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)


def run(operations, images, strength=1.0):
    """Return what a chain does, without XLA: the same bits, and nothing to wait for."""

    def chain(images, seed):
        return chain_of(operations)(images, seed, strength)

    return compiled(chain, jit_compile=False)(images, tf.constant([1, 0])).numpy()


def assert_uniform(values, low, high):
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


class TestLaws:
    """The law of each factor, read from the matrices of 2000 images."""

    def test_rotation(self):
        matrices = matrices_of(augment.random_rotation.operation(degrees=(-10, 30)), 2000)
        np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)
        np.testing.assert_allclose(matrices @ [6, 4, 1], np.tile([6, 4, 1], (2000, 1)), atol=1e-12)
        assert_uniform(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])), -10, 30)

    def test_one_number_is_both_ways(self):
        matrices = matrices_of(augment.random_rotation.operation(degrees=25), 2000)
        assert_uniform(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])), -25, 25)

    def test_translation(self):
        operation = augment.random_translation.operation(horizontal=0.3, vertical=(-0.1, 0.5))
        matrices = matrices_of(operation, 2000, height=20, width=10)
        np.testing.assert_array_equal(matrices[:, :, :2], np.tile(np.eye(3)[:, :2], (2000, 1, 1)))
        right, down = -matrices[:, 0, 2], -matrices[:, 1, 2]
        assert_uniform(right, -3, 3)
        assert_uniform(down, -2, 10)
        assert abs(np.corrcoef(right, down)[0, 1]) < 0.08

    @pytest.mark.parametrize("anisotropic", [False, True])
    @pytest.mark.parametrize("distribution", ["log", "uniform"])
    def test_zoom(self, distribution, anisotropic):
        operation = augment.random_zoom.operation(
            factor=(0.5, 3.0), distribution=distribution, anisotropic=anisotropic
        )
        matrices = matrices_of(operation, 2000)
        across, down = 1 / matrices[:, 0, 0], 1 / matrices[:, 1, 1]
        for factors in (across, down):
            if distribution == "log":
                assert_uniform(np.log(factors), np.log(0.5), np.log(3))
            else:
                assert_uniform(factors, 0.5, 3)
        if anisotropic:
            assert abs(np.corrcoef(across, down)[0, 1]) < 0.08
        else:
            np.testing.assert_array_equal(across, down)
        np.testing.assert_allclose(matrices @ [6, 4, 1], np.tile([6, 4, 1], (2000, 1)), atol=1e-12)

    def test_one_number_of_zoom(self):
        matrices = matrices_of(augment.random_zoom.operation(factor=0.3), 2000)
        assert_uniform(-np.log(matrices[:, 0, 0]), np.log(0.7), np.log(1.3))

    def test_shear(self):
        operation = augment.random_shear.operation(horizontal=60, vertical=(-10, 20))
        matrices = matrices_of(operation, 2000)
        across, down = (np.degrees(np.arctan(matrices[:, i, 1 - i])) for i in (0, 1))
        assert_uniform(across, -60, 60)
        assert_uniform(down, -10, 20)
        assert abs(np.corrcoef(across, down)[0, 1]) < 0.08

    def test_perspective(self):
        matrices = matrices_of(augment.random_perspective.operation(distortion_scale=0.6), 2000)
        start = np.array([[0, 0, 1], [12, 0, 1], [12, 8, 1], [0, 8, 1]], float)
        # Where the corners go: the way back, from image to result.
        corners = np.einsum("bij,cj->bci", np.linalg.inv(matrices), start)
        corners = corners[..., :2] / corners[..., 2:]
        moves = np.abs(corners - start[:, :2]) / [12, 8]
        assert (corners >= -1e-9).all()
        for move in moves.reshape(2000, 8).T:
            assert_uniform(move, 0, 0.3)
        assert np.abs(np.corrcoef(moves.reshape(2000, 8).T) - np.eye(8)).max() < 0.08

    def test_affine(self):
        """Its matrix is the product, in the order stated, of matrices made here of its draws."""
        operation = augment.random_affine.operation(
            rotation=(-20, 40), translation=(0.1, 0.2), zoom=(0.5, 2), shear=(10, 5), flip="both"
        )
        matrices = matrices_of(operation, 2000, height=9, width=13)
        draw = Draw("random_affine", tf.constant([1, 0]), (2000, 9, 13, 3))
        angle = np.radians(draw.uniform("degrees", -20, 40))
        across, down = (
            np.tan(np.radians(draw.uniform(f"shear_{axis}", -angles, angles)))
            for axis, angles in (("x", 10), ("y", 5))
        )
        zoom = np.exp(draw.uniform("zoom", np.log(0.5), np.log(2), shape=(2,)).numpy()[:, 0])
        moves = 13 * draw.uniform("right", -0.1, 0.1), 9 * draw.uniform("down", -0.2, 0.2)
        signs = [np.where(draw.chance(f"flip_{axis}", 0.5), -1, 1) for axis in "xy"]
        one, zero = np.ones(2000), np.zeros(2000)
        forwards = [
            [[signs[0], zero], [zero, signs[1]]],
            [[zoom, zero], [zero, zoom]],
            np.linalg.inv(np.array([[one, across], [down, one]]).transpose(2, 0, 1)),
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]],
        ]
        total = np.eye(2)
        for forward in forwards:
            forward = np.array(forward)
            total = (forward if forward.shape[0] == 2000 else forward.transpose(2, 0, 1)) @ total
        # From the image to the result: what is done first is on the right.
        backwards = np.linalg.inv(total)
        np.testing.assert_allclose(matrices[:, :2, :2], backwards, atol=1e-12)
        moved = np.stack([6 + moves[0], 4 + moves[1], one], axis=-1)
        centre = np.einsum("bij,bj->bi", matrices, moved)
        np.testing.assert_allclose(centre, np.tile([6, 4, 1], (2000, 1)), atol=1e-10)
        assert stats.binomtest(int((signs[0] < 0).sum()), 2000, 0.5).pvalue > 0.001
        assert abs(np.corrcoef(*signs)[0, 1]) < 0.08

    def test_one_number_of_translation_and_shear(self):
        operation = augment.random_affine.operation(rotation=0, zoom=0, shear=8, translation=0.2)
        matrices = matrices_of(operation, 2000, height=20, width=10)
        assert_uniform(np.degrees(np.arctan(matrices[:, 0, 1])), -8, 8)
        np.testing.assert_array_equal(matrices[:, 1, 0], 0)
        assert_uniform(-matrices[:, 1, 2], -4, 4)


@pytest.mark.parametrize("name", ["translation", "affine"])
@pytest.mark.parametrize("shape", [(6, 9, 13, 3), (6, 24, 16, 1), (6, 16, 16, 4)])
@pytest.mark.sampled(1)
def test_pixels_are_those_of_the_matrix(random_images, name, shape):
    operation, images = OPERATIONS[name], random_images(*shape)
    result = run([operation], images)
    matrices = matrices_of(operation, *shape[:3])
    for image, matrix, changed in zip(images, matrices, result, strict=True):
        np.testing.assert_allclose(changed, by_scipy(image, matrix), atol=0.65)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.sampled(1)
def test_identity_at_zero_strength_is_exact(random_images, name):
    images = random_images(4, 9, 14)
    result = run([OPERATIONS[name]], images, strength=tf.constant(0.0))
    np.testing.assert_array_equal(result, images)
    floats = images.astype(np.float32) * np.float32(0.997)
    np.testing.assert_array_equal(run([NEUTRAL[name]], floats), floats)


@pytest.mark.parametrize("name", ["rotation", "translation", "shear"])
def test_half_the_strength_is_half_the_range(name):
    whole = matrices_of(OPERATIONS[name], 50)
    half = matrices_of(OPERATIONS[name], 50, strength=0.5)
    read = {
        "rotation": lambda m: np.arctan2(m[:, 1, 0], m[:, 0, 0]),
        "translation": lambda m: m[:, :2, 2],
        "shear": lambda m: np.arctan(m[:, [0, 1], [1, 0]]),
    }[name]
    np.testing.assert_allclose(read(half), 0.5 * read(whole), atol=1e-12)


@pytest.mark.parametrize("name", ["rotation", "affine"])
def test_probability(random_images, name):
    images = random_images(1000, 4, 4, 1)
    operation = getattr(augment, f"random_{name}")
    changed = (operation(images, [1, 0], probability=0.3).numpy() != images).any((1, 2, 3))
    assert stats.binomtest(int(changed.sum()), 1000, 0.3).pvalue > 0.001


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(random_images, turns):
    images = random_images(3, 8, 8)
    turned = augment.random_rotation(images, [1, 0], degrees=(90 * turns, 90 * turns))
    np.testing.assert_array_equal(turned, np.rot90(images, turns, axes=(1, 2)))


class TestFused:
    @pytest.mark.parametrize(
        "names", [("flip", "rotation", "zoom"), ("rotation", "flip", "perspective", "shear")]
    )
    def test_a_run_is_one_warp_by_the_product(self, random_images, names):
        known = OPERATIONS | {"flip": augment.random_flip.operation(vertical=True)}
        operations = [known[name] for name in names]
        assert len(stages(operations)) == 1
        images = random_images(12, 15, 11)
        result = run(operations, images)
        total = np.tile(np.eye(3), (12, 1, 1))
        for operation in operations:
            drawn, _ = operation.draw(tf.constant([1, 0]), images.shape, 1.0)
            if "flips" in drawn:
                matrix = np.tile(np.eye(3), (12, 1, 1))
                for axis, last in ((0, 10), (1, 14)):
                    flipped = drawn["flips"].numpy()[:, axis]
                    matrix[flipped, axis, axis], matrix[flipped, axis, 2] = -1, last
            else:
                matrix = drawn["matrix"].numpy()
            total = total @ matrix
        for image, matrix, changed in zip(images, total, result, strict=True):
            np.testing.assert_allclose(changed, by_scipy(image, matrix), atol=0.65)

    def test_the_first_stands_first(self, random_images):
        """Turned, then mirrored: not the same as mirrored, then turned."""
        images = random_images(2, 8, 8)
        turn = augment.random_rotation.operation(degrees=(90, 90))
        mirror = augment.random_flip.operation(probability=1.0)
        turned = np.rot90(images, axes=(1, 2))
        np.testing.assert_array_equal(run([turn, mirror], images), turned[:, :, ::-1])

    def test_only_images_that_a_member_chose_are_changed(self, random_images):
        images = random_images(400, 6, 6, 1)
        operations = [
            augment.random_rotation.operation(degrees=(180, 180), probability=0.2),
            augment.random_zoom.operation(factor=(2, 2), probability=0.3),
        ]
        result = run(operations, images)
        same = (result == images).all((1, 2, 3))
        turned = (result == images[:, ::-1, ::-1]).all((1, 2, 3))
        assert stats.binomtest(int(same.sum()), 400, 0.8 * 0.7).pvalue > 0.001
        assert stats.binomtest(int(turned.sum()), 400, 0.2 * 0.7).pvalue > 0.001

    @pytest.mark.parametrize("option", [{"fill": "reflect"}, {"value": 1}])
    def test_what_fills_differently_stays_apart(self, option):
        other = augment.random_zoom.operation(**option)
        assert len(stages([OPERATIONS["rotation"], other])) == 2


def test_fill_with_one_value_for_each_channel():
    images = np.zeros((3, 8, 8, 4), np.uint8)
    arguments = {"degrees": (45, 45), "value": [1, 2, 3, 4]}
    result = augment.random_rotation(images, [1, 0], **arguments).numpy()
    assert (result[:, 0, 0] == [1, 2, 3, 4]).all()
    with pytest.raises(ValueError, match="each of the 3 channels"):
        augment.random_rotation(images[..., :3], [1, 0], **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rotation", {"degrees": -1}, r"degrees must be a number in \[0, 360\], received: -1"),
        ("rotation", {"degrees": (2, 1)}, r"degrees must be in rising order, received: \(2, 1\)"),
        ("rotation", {"degrees": (0, 361)}, r"degrees\[1\] must be a number in \[-360, 360\]"),
        ("rotation", {"fill": "wrap"}, "fill must be 'constant' or 'nearest' or 'reflect'"),
        ("translation", {"vertical": 1.5}, r"vertical must be a number in \[0, 1\]"),
        ("zoom", {"factor": 1}, r"factor\[0\] must be a number in \(0, inf\], received: 0.0"),
        ("zoom", {"factor": (0, 2)}, r"factor\[0\] must be a number in \(0, inf\], received: 0"),
        ("zoom", {"distribution": "normal"}, "distribution must be 'log' or 'uniform', received"),
        ("zoom", {"anisotropic": 2}, "anisotropic must be True or False, received: 2"),
        ("shear", {"horizontal": 90}, r"horizontal must be a number in \[0, 85\], received: 90"),
        ("perspective", {"distortion_scale": 2 / 3}, "distortion_scale must be below 2/3"),
        ("perspective", {"distortion_scale": 0.7}, "distortion_scale must be a number in"),
        ("affine", {"translation": (0.1, 2)}, r"translation must be a number in \[0, 1\], rec"),
        ("affine", {"translation": "far"}, "translation must be a number or two numbers, received"),
        ("affine", {"shear": (1, 2, 3)}, r"shear must be a number or two numbers, received: \(1"),
        ("affine", {"flip": True}, "flip must be None or 'horizontal' or 'vertical' or 'both'"),
        ("affine", {"perspective": 0.9}, "perspective must be a number in"),
    ],
)
def test_bad_arguments(random_images, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(affine, f"random_{name}")(random_images(2), [1, 0], **arguments)
