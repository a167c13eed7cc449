"""RandAugment, TrivialAugment and AutoAugment against PIL and the tables of the papers."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from augment import auto_augment, rand_augment, trivial_augment_wide
from augment._chain import chain_of

SIGNED = (-1, 1)
ENHANCE = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}
# PIL cuts off to whole grey levels, and rounds the mean (contrast) and the grey (saturation) that
# it blends with; a sharpened value may be whole but for the last bit of a float. The others are
# equal to the bit.
ROUNDING = {"brightness": 1, "contrast": 2, "saturation": 2, "sharpness": 1}


def with_pil(name, image, argument):
    """Apply an operation of the papers' code to an image (height, width, channels)."""
    gray = image.shape[2] == 1
    picture = Image.fromarray(image[..., 0] if gray else image)
    move = functools.partial(picture.transform, picture.size, Image.Transform.AFFINE)
    if name in ENHANCE:
        result = ENHANCE[name](picture).enhance(argument)
    else:
        result = {
            "identity": lambda: picture,
            "autocontrast": lambda: ImageOps.autocontrast(picture),
            "equalize": lambda: ImageOps.equalize(picture),
            "invert": lambda: ImageOps.invert(picture),
            "posterize": lambda: ImageOps.posterize(picture, int(argument)),
            "solarize": lambda: ImageOps.solarize(picture, argument),
            "solarize_add": lambda: picture.point(
                [min(255, level + int(argument)) if level < 128 else level for level in range(256)]
                * (1 if gray else 3)
            ),
            "shear_x": lambda: move((1, argument, 0, 0, 1, 0)),
            "shear_y": lambda: move((1, 0, 0, argument, 1, 0)),
            "translate_x": lambda: move((1, 0, argument, 0, 1, 0)),
            "translate_y": lambda: move((1, 0, 0, 0, 1, argument)),
            "rotate": lambda: picture.rotate(argument),
        }[name]()
    return np.asarray(result).reshape(image.shape)


def torchvision_table(m, height, width):
    """RandAugment's ranges, a place `m` in 31 even steps: all arguments of each operation."""
    enhanced = tuple(1 + sign * 0.9 * m / 30 for sign in SIGNED)
    return {
        "identity": (None,),
        "shear_x": tuple(sign * 0.3 * m / 30 for sign in SIGNED),
        "shear_y": tuple(sign * 0.3 * m / 30 for sign in SIGNED),
        "translate_x": tuple(sign * int(150 / 331 * width * m / 30) for sign in SIGNED),
        "translate_y": tuple(sign * int(150 / 331 * height * m / 30) for sign in SIGNED),
        "rotate": tuple(sign * m for sign in SIGNED),
        **dict.fromkeys(ENHANCE, enhanced),
        "posterize": (round(8 - m / 7.5),),
        "solarize": (256 - 256 * m / 30,),
        "autocontrast": (None,),
        "equalize": (None,),
    }


def wide_table(m):
    """TrivialAugment's wide ranges in 31 even steps."""
    enhanced = tuple(1 + sign * 0.99 * m / 30 for sign in SIGNED)
    return {
        **torchvision_table(m, 1, 1),
        "shear_x": tuple(sign * 0.99 * m / 30 for sign in SIGNED),
        "shear_y": tuple(sign * 0.99 * m / 30 for sign in SIGNED),
        "translate_x": tuple(sign * (32 * m // 30) for sign in SIGNED),
        "translate_y": tuple(sign * (32 * m // 30) for sign in SIGNED),
        "rotate": tuple(sign * 135 * m / 30 for sign in SIGNED),
        **dict.fromkeys(ENHANCE, enhanced),
        "posterize": (round(8 - m / 5),),
    }


def timm_table(m, height, width, increasing):
    """timm's ranges, magnitudes from 0 to 10."""
    signs = SIGNED if increasing else (1,)
    enhanced = tuple(
        (max(0.1, 1 + sign * 0.09 * m) if increasing else 0.1 + 0.18 * m) for sign in signs
    )
    return {
        "autocontrast": (None,),
        "equalize": (None,),
        "invert": (None,),
        "rotate": tuple(sign * 3 * m for sign in SIGNED),
        "posterize": (4 - int(m / 10 * 4) if increasing else int(m / 10 * 4),),
        "solarize": (256 - int(m / 10 * 256) if increasing else int(m / 10 * 256),),
        "solarize_add": (int(m / 10 * 110),),
        **dict.fromkeys(ENHANCE, enhanced),
        "shear_x": tuple(sign * 0.03 * m for sign in SIGNED),
        "shear_y": tuple(sign * 0.03 * m for sign in SIGNED),
        "translate_x": tuple(sign * 0.045 * m * width for sign in SIGNED),
        "translate_y": tuple(sign * 0.045 * m * height for sign in SIGNED),
    }


def photo(height, width, channels=3, seed=0):
    """Make an image that no two operations treat alike: smooth, dull, with some fine structure."""
    generator = np.random.default_rng(seed)
    rough = generator.normal(size=(height, width, channels))
    smooth = ndimage.gaussian_filter(rough, (2, 2, 0), mode="wrap")
    values = 128 + 110 * smooth / np.abs(smooth).max() + 6 * rough
    return np.clip(values, 6, 251).astype(np.uint8)


def recognise(results, image, candidates):
    """Return for each result the place of the candidate (name, argument) that PIL makes it by."""
    made = np.array([with_pil(name, image, argument) for name, argument in candidates])
    limits = np.array([ROUNDING.get(name, 0) for name, _ in candidates])
    distances = np.abs(results[:, None].astype(int) - made[None]).max((2, 3, 4))
    fits = distances <= limits
    assert (fits.sum(1) == 1).all(), [
        (candidates[place], int(distances[row, place]))
        for row, place in enumerate(distances.argmin(1))
        if fits[row].sum() != 1
    ][:5]
    return fits.argmax(1)


def of_table(table):
    return [(name, argument) for name, arguments in table.items() for argument in arguments]


CASES = {
    "torchvision": ({"m": 9}, torchvision_table(9, 18, 24)),
    "timm": ({"table": "timm", "m": 7}, timm_table(7, 18, 24, False)),
    "timm_increasing": (
        {"table": "timm", "m": 9, "increasing": True},
        timm_table(9, 18, 24, True),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(1)
def test_every_operation_is_pils_and_equally_likely(case):
    """Neither operation, nor sign, is shared by a batch: Keras draws one of each for all images."""
    arguments, table = CASES[case]
    image, count = photo(18, 24), 1400
    images = np.broadcast_to(image, (count, *image.shape))
    results = rand_augment(images, [3, 1], n=1, **arguments).numpy()
    candidates = of_table(table)
    counts = np.bincount(recognise(results, image, candidates), minlength=len(candidates))
    expected = [count / len(table) / len(given) for given in table.values() for _ in given]
    assert stats.chisquare(counts, expected).pvalue > 0.001


@pytest.mark.parametrize("name", ["posterize", "contrast", "rotate"])
def test_one_operation_alone_is_pils_on_grey_images(name):
    images = np.stack([photo(24, 17, 1, seed) for seed in range(6)])
    results = rand_augment(images, [2, 2], n=1, m=20, operations=[name]).numpy()
    arguments = torchvision_table(20, 24, 17)[name]
    for image, result in zip(images, results, strict=True):
        errors = [
            np.abs(with_pil(name, image, value) - result.astype(int)).max() for value in arguments
        ]
        assert min(errors) <= ROUNDING.get(name, 0)


def drawn_by(function, count=4000, sizes=(60, 90), strength=1.0, **arguments):
    """Return what is drawn for images: NumPy arrays, without computing any pixels."""
    made = function.operation(**arguments)
    rows, _ = made.draw([4, 2], (count, *sizes, 3), strength)
    return {name: value.numpy() for name, value in rows.items()}


@pytest.mark.parametrize(
    "name", ["rotate", "shear_x", "translate_y", "sharpness", "posterize", "solarize"]
)
def test_each_bin_of_trivial_augment_has_the_papers_magnitude(name):
    found = drawn_by(trivial_augment_wide, operations=(name,))["argument"].ravel()
    allowed = [argument for m in range(31) for argument in wide_table(m)[name]]
    values, shares = np.unique(np.round(allowed, 9), return_counts=True)
    found, counts = np.unique(np.round(found, 9) + 0.0, return_counts=True)
    np.testing.assert_allclose(found, values, atol=2e-9)
    assert stats.chisquare(counts, shares / shares.sum() * counts.sum()).pvalue > 0.001


@pytest.mark.parametrize("m", [0, 1, 13, 30])
def test_each_magnitude_of_rand_augment_is_the_papers(m):
    for name, expected in torchvision_table(m, 60, 90).items():
        if expected != (None,):
            found = drawn_by(rand_augment, 30, n=1, m=m, operations=(name,))["argument"]
            np.testing.assert_allclose(np.unique(found), sorted(set(expected)), atol=1e-9)


def test_the_deviation_of_magnitudes():
    arguments = {"table": "timm", "increasing": True, "m": 9, "std": 0.5, "operations": ("rotate",)}
    degrees = np.abs(drawn_by(rand_augment, n=1, **arguments)["argument"].ravel())
    # Normal about 9 (27 degrees), with what lies above 10 (30 degrees) put there.
    assert degrees.max() == 30
    law = stats.norm(27, 1.5)
    top = law.sf(30)
    assert abs((degrees == 30).mean() - top) < 4 * np.sqrt(top / degrees.size)
    below = degrees[degrees < 30]
    truncated = stats.kstest(below, lambda value: law.cdf(value) / law.cdf(30))
    assert truncated.pvalue > 0.001


def test_the_chance_of_each_step():
    drawn = drawn_by(rand_augment, n=3, step_probability=0.4, operations=("invert",), table="timm")
    assert stats.binomtest(int((drawn["branch"] > 0).sum()), 12_000, 0.4).pvalue > 0.001


def auto_augment_argument(name, magnitude):
    table = torchvision_table(magnitude * 10 / 3, 60, 90)
    if name == "invert":
        return (None,)
    if name == "posterize":
        return (round(8 - magnitude * 4 / 9),)
    return table[name]


@pytest.mark.parametrize(
    ("table", "checked"),
    [
        # The first, the last and some more of each table of the paper.
        ("cifar10", {
            0: (("invert", 0.1, 7), ("contrast", 0.2, 6)),
            3: (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
            19: (("brightness", 0.1, 3), ("saturation", 0.7, 0)),
            24: (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
        }),
        ("imagenet", {
            0: (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
            12: (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
            16: (("saturation", 0.8, 8), ("solarize", 0.8, 7)),
            24: (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
        }),
        ("svhn", {
            0: (("shear_x", 0.9, 4), ("invert", 0.2, 3)),
            14: (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
            18: (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
            24: (("shear_x", 0.7, 2), ("invert", 0.1, 5)),
        }),
    ],
)  # fmt: skip
def test_auto_augment_draws_the_papers_pairs(table, checked):
    from augment import policy_tables

    policies = policy_tables.SUB_POLICIES[table]
    assert len(policies) == 25
    for place, pair in checked.items():
        assert policies[place] == pair
    kernels = auto_augment.operation(table=table).apply.__self__.kernels
    drawn = drawn_by(auto_augment, count=20_000, table=table)
    # Which pair it was shows in the arguments, drawn or not, of all that have one.
    by_arguments = {}
    for pair, signs in itertools.product(policies, itertools.product((0, 1), repeat=2)):
        arguments = []
        for (name, _, magnitude), sign in zip(pair, signs, strict=True):
            given = auto_augment_argument(name, magnitude)
            arguments.append(
                0.0 if given[0] is None else round(given[min(sign, len(given) - 1)], 6)
            )
        by_arguments.setdefault(tuple(arguments), set()).add(pair)
    chances = dict.fromkeys(itertools.product(kernels, kernels), 0.0)
    for pair in policies:
        for done in itertools.product((0, 1), repeat=2):
            names, chance = [], 1 / 25
            for (name, share, _), is_done in zip(pair, done, strict=True):
                kernel = name if name in kernels else "warp"
                names.append(kernel if is_done else "identity")
                chance *= share if is_done else 1 - share
            chances[tuple(names)] += chance
    for arguments in np.unique(np.round(drawn["argument"], 6), axis=0):
        assert tuple(arguments + 0.0) in by_arguments
    found = [(kernels[one], kernels[other]) for one, other in drawn["branch"]]
    counts = np.array([found.count(key) for key, chance in chances.items() if chance > 0])
    expected = np.array([20_000 * chance for chance in chances.values() if chance > 0])
    assert counts.sum() == 20_000
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_two_operations_follow_each_other():
    image = photo(12, 12)
    images = np.broadcast_to(image, (40, *image.shape))
    results = rand_augment(images, [1, 1], n=2, m=15, operations=("posterize", "solarize")).numpy()
    steps = {"posterize": 4 + 2, "solarize": 128}
    expected = {
        (first, second): with_pil(second, with_pil(first, image, steps[first]), steps[second])
        for first, second in itertools.product(steps, repeat=2)
    }
    found = set()
    for result in results:
        fits = [key for key, value in expected.items() if np.array_equal(value, result)]
        assert fits
        found.update(fits)
    assert found == set(expected)


def test_magnitude_0_changes_nothing_where_the_table_starts_there(random_images):
    images = random_images(40, 16, 16)
    images[:, :2] = 255
    kept = [name for name in torchvision_table(0, 1, 1) if name not in ("autocontrast", "equalize")]
    results = rand_augment(images, [1, 0], n=3, m=0, operations=kept)
    np.testing.assert_array_equal(results, images)


@pytest.mark.parametrize(
    "made",
    [
        rand_augment.operation(m=20),
        trivial_augment_wide.operation(),
        auto_augment.operation(table="svhn"),
    ],
)
def test_strength_0_changes_nothing_and_half_halves_the_magnitudes(made):
    sizes, seed = (1000, 60, 90, 3), [6, 1]
    for strength in (0.0, 0.5):
        part, _ = made.draw(seed, sizes, strength)
        full, _ = made.draw(seed, sizes, 1.0)
        kernels = np.array(made.apply.__self__.kernels)[part["branch"]]
        full_kernels = np.array(made.apply.__self__.kernels)[full["branch"]]
        bare = np.isin(full_kernels, ["autocontrast", "equalize", "invert"])
        assert ((kernels == full_kernels) | (bare & (kernels == "identity"))).all()
        left = (kernels[bare] != "identity").mean()
        assert abs(left - strength) <= 4 * np.sqrt(strength * (1 - strength) / bare.sum())
        for kernel, neutral in {"brightness": 1, "sharpness": 1, "solarize": 256}.items():
            at = kernels == kernel
            expected = neutral + strength * (full["argument"].numpy()[at] - neutral)
            np.testing.assert_allclose(part["argument"].numpy()[at], expected, atol=1e-9)
        turned = part["argument"].numpy()[kernels == "posterize"]
        assert (turned == np.round(turned)).all()
        if strength == 0:
            assert (turned == 8).all()
            identity = np.broadcast_to(np.eye(3), part["matrix"].shape)
            np.testing.assert_allclose(part["matrix"], identity, atol=1e-12)


def test_strength_0_gives_the_same_pixels(random_images):
    images = tf.constant(random_images(30, 9, 12))
    made = rand_augment.operation(m=25, operations=("rotate", "contrast", "solarize", "equalize"))
    chain = tf.function(chain_of([made]), jit_compile=True, autograph=False)
    np.testing.assert_array_equal(chain(images, tf.constant([3, 3]), 0.0), images)


@pytest.mark.slow
def test_float_images_get_the_same_operations():
    images = np.stack([photo(12, 15, seed=seed) for seed in range(60)])
    names = ("rotate", "equalize", "sharpness", "contrast", "posterize", "solarize")
    arguments = {"n": 1, "m": 12, "operations": names, "fill": "reflect"}
    whole = rand_augment(images, [1, 1], **arguments).numpy()
    single = rand_augment(images.astype(np.float32), [1, 1], **arguments).numpy()
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, atol=1.001)
