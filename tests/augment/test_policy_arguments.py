"""What the arguments of the policies do, and how they are refused and described."""

import numpy as np
import pytest

from augment import auto_augment, rand_augment, trivial_augment_wide


def test_interpolation_and_fill():
    images = np.full((50, 12, 12, 3), 200, np.uint8)
    arguments = {"n": 1, "m": 30, "operations": ("rotate",)}
    black = rand_augment(images, [1, 1], **arguments).numpy()
    assert set(np.unique(black)) == {0, 200}
    color = rand_augment(images, [1, 1], value=(1, 2, 3), **arguments).numpy()
    np.testing.assert_array_equal(
        color[black[..., 0] == 0], [[1, 2, 3]] * (black[..., 0] == 0).sum()
    )
    np.testing.assert_array_equal(rand_augment(images, [1, 1], fill="reflect", **arguments), images)
    smooth = rand_augment(images, [1, 1], interpolation="bilinear", **arguments).numpy()
    assert len(np.unique(smooth)) > 5


def test_notes_say_what_is_done():
    notes = "\n".join(rand_augment.operation(n=2, m=9).notes)
    assert notes.startswith("2 of these at magnitude 9 of 30")
    assert "rotate -9 or 9 degrees" in notes
    assert "posterize 7 bits kept" in notes
    wide = trivial_augment_wide.operation().notes
    assert "rotate -135 to 135 degrees" in wide
    assert "brightness times 0.01 to 1.99" in wide
    pairs = auto_augment.operation(table="cifar10").notes
    assert pairs[4] == "4. shear_y -0.267 or 0.267 pixels a column (0.5), then " + (
        "translate_y -0.453 or 0.453 of the height (0.7)"
    )


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (rand_augment, {"n": 0}, "n must be an integer of at least 1"),
        (rand_augment, {"m": 31}, r"m must be a number in \[0, 30\], received: 31"),
        (rand_augment, {"m": 11, "table": "timm"}, r"m must be a number in \[0, 10\]"),
        (rand_augment, {"std": -1}, "std must be a number"),
        (rand_augment, {"increasing": True}, "increasing must be False unless table is 'timm'"),
        (rand_augment, {"operations": ["rotat"]}, "operations must be 'identity' or"),
        (rand_augment, {"operations": "rotate"}, "operations must be names out of"),
        (rand_augment, {"operations": ()}, "operations must be names out of"),
        (rand_augment, {"operations": ("rotate", "rotate")}, "named once each"),
        (rand_augment, {"table": "keras"}, "table must be 'torchvision' or 'timm'"),
        (rand_augment, {"interpolation": "cubic"}, "interpolation must be"),
        (trivial_augment_wide, {"bins": 1}, "bins must be an integer of at least 2"),
        (auto_augment, {"table": "mnist"}, "table must be 'cifar10' or 'imagenet' or 'svhn'"),
    ],
)
def test_bad_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function.operation(**arguments)


def test_four_channels_are_refused():
    with pytest.raises(ValueError, match="must have 1 channel .grey. or 3 .RGB. for saturation"):
        rand_augment(np.zeros((2, 8, 8, 4), np.uint8), [0, 0])
