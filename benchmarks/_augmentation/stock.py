"""The same operations of Keras' own layers, as functions `(images, labels, seed) -> tensors`."""

import keras
import tensorflow as tf

CLASSES = 10


def layers_of(*makers):
    """Return a maker of a function that runs new layers, one after the other."""

    def make(_size):
        layers = [maker() for maker in makers]

        def run(images, labels, _seed):
            for layer in layers:
                images = layer(images, training=True)
            return tf.cast(images, tf.float32)

        return run

    return make


def mixed_of(*makers, mixup=True, cutmix=False):
    """Return a maker of layers followed by MixUp, CutMix, or one in even and one in odd steps."""

    def make(_size):
        layers = [maker() for maker in makers]
        blend, cut = keras.layers.MixUp(alpha=1.0, seed=8), keras.layers.CutMix(seed=9)

        def run(images, labels, seed):
            for layer in layers:
                images = layer(images, training=True)
            batch = {"images": tf.cast(images, tf.float32), "labels": tf.one_hot(labels, CLASSES)}
            if mixup and cutmix:
                batch = tf.cond(
                    seed[1] % 2 == 0,
                    lambda: blend(batch, training=True),
                    lambda: cut(batch, training=True),
                )
            else:
                batch = (blend if mixup else cut)(batch, training=True)
            return batch["images"], batch["labels"]

        return run

    return make


def resized_crop(*makers):
    """Return a maker of `tf.image.crop_and_resize` with a box for each image, then layers.

    Keras has no random resized crop. The boxes are of 8 to 100 % of the area, ratio 3/4 to 4/3.
    """

    def make(size):
        layers = [maker() for maker in makers]

        def run(images, _labels, seed):
            images = tf.image.crop_and_resize(
                tf.cast(images, tf.float32),
                _boxes(tf.shape(images)[0], seed),
                tf.range(tf.shape(images)[0]),
                (size, size),
            )
            for layer in layers:
                images = layer(images, training=True)
            return images

        return run

    return make


def _boxes(count, seed):
    drawn = tf.random.stateless_uniform((4, count), seed)
    area = 0.08 + 0.92 * drawn[0]
    ratio = tf.exp((2 * drawn[1] - 1) * tf.math.log(4.0 / 3.0))
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top, left = drawn[2] * (1 - height), drawn[3] * (1 - width)
    return tf.stack([top, left, top + height, left + width], axis=1)


def _flip():
    return keras.layers.RandomFlip("horizontal", seed=0)


def _rotation():
    # A fraction of a turn: 30 degrees.
    return keras.layers.RandomRotation(30 / 360, seed=1)


def _zoom():
    return keras.layers.RandomZoom((-0.2, 0.2), seed=2)


def _jitter():
    return keras.layers.RandomColorJitter(
        brightness_factor=0.4, contrast_factor=0.4, saturation_factor=0.4, hue_factor=0.1, seed=3
    )


def _rand_augment():
    return keras.layers.RandAugment(num_ops=2, seed=4)


def _shift(size):
    """Return layers that flip, shift by up to 4 pixels (each image its own way) and erase 8 x 8."""
    share = 64 / size**2
    return (
        _flip,
        lambda: keras.layers.RandomTranslation(4 / size, 4 / size, fill_mode="constant", seed=5),
        lambda: keras.layers.RandomErasing(
            (1.0, 1.0), scale=(share, share), fill_value=0.0, seed=6
        ),
    )


# A pair of equal factors means always; one number is only the upper end of a range of chances.
ROWS = {
    "flip": layers_of(_flip),
    "rotation": layers_of(_rotation),
    "affine": layers_of(_flip, _rotation, _zoom),
    "resized_crop": resized_crop(_flip),
    "brightness": layers_of(lambda: keras.layers.RandomBrightness(0.2, seed=0)),
    "contrast": layers_of(lambda: keras.layers.RandomContrast(0.4, seed=0)),
    "saturation": layers_of(lambda: keras.layers.RandomSaturation(0.4, seed=0)),
    "hue": layers_of(lambda: keras.layers.RandomHue(0.1, seed=0)),
    "jitter": layers_of(_jitter),
    "gray": layers_of(lambda: keras.layers.RandomGrayscale(1.0, seed=0)),
    "erasing": layers_of(lambda: keras.layers.RandomErasing((1.0, 1.0), seed=0)),
    "blur": layers_of(lambda: keras.layers.RandomGaussianBlur((1.0, 1.0), 5, seed=0)),
    "autocontrast": layers_of(keras.layers.AutoContrast),
    "equalize": layers_of(keras.layers.Equalization),
    "solarize": layers_of(lambda: keras.layers.Solarization(0.0, (0.5, 0.5), seed=0)),
    "posterize": layers_of(lambda: keras.layers.RandomPosterization(4, seed=0)),
    "sharpness": layers_of(lambda: keras.layers.RandomSharpness((0.5, 0.5), seed=0)),
    # Keras wants images in [0, 1] here; the work is the same.
    "noise": layers_of(lambda: keras.layers.GaussianNoise(0.05, seed=0)),
    "mixup": mixed_of(),
    "cutmix": mixed_of(mixup=False, cutmix=True),
    "crop_jitter": resized_crop(_flip, _jitter),
    "randaugment": layers_of(_rand_augment),
    "randaugment_mix": mixed_of(_rand_augment, cutmix=True),
    "shift": lambda size: layers_of(*_shift(size))(size),
    "shift_mix": lambda size: mixed_of(*_shift(size), cutmix=True)(size),
    "augmix": layers_of(lambda: keras.layers.AugMix(seed=0)),
}
