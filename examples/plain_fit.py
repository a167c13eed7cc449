"""Our pieces in a training loop of your own: nothing but `model.compile` and `model.fit`.

python examples/plain_fit.py --epochs 10
"""

import argparse

import keras

from callbacks import EarlyStopping, WarmupDecay, WeightAverage
from recipes import build_resnet, load_data


def main():
    """Train a ResNet-20 on the bundled images of clothes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    data = load_data("fashion-mini", batch_size=128)
    mean, variance = data.statistics()
    model = build_resnet(20, input_shape=data.image_shape, classes=10, mean=mean, variance=variance)
    steps = options.epochs * data.train.cardinality().numpy()
    model.compile(
        optimizer=keras.optimizers.AdamW(WarmupDecay(3e-3, steps, warmup=0.2)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    average = WeightAverage(0.99)
    stopping = EarlyStopping("val_loss", patience=5, average=average)
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=options.epochs,
        shuffle=False,  # the pipeline shuffles; Keras would warn that it cannot
        callbacks=[average, stopping],
        verbose=2,
    )
    print(stopping.reason)
    _, accuracy = model.evaluate(data.test, verbose=0)
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
