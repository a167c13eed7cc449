"""The cost model of docs/scale.md, and its check by two processes on a core each.

    python benchmarks/scale.py            # measure, compare with the model
    python benchmarks/scale.py --table    # only what the model says of other machines

Each worker is a process of its own that is held to one processor core, opened and compiled as by
`recipes train --strategy multiworker`; they reach each other over the loopback interface. Measured
are images a second of training at several batches a worker, and all-reduces of vectors of several
sizes, one of them that of the gradient. Two cores of one machine share caches, memory and at times
the arithmetic of one core, so a worker beside another is slower than one alone. Both are measured
with workers that are not connected; from the step of two of these, and the all-reduces, the model
says what a step of two that are connected should take.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time

WIDTH = 32
BATCHES = (8, 32, 128)  # images a worker
MEGABYTES = (0.004, 0.1, 1.0, 10.0, 50.0)
SCALARS = 3  # numbers that a step adds up beside the gradient, as the traced function shows


def step_seconds(images, rate, megabytes, bandwidth, workers, latency=0.0):
    """Return the seconds of a step: compute, then ring all-reduces that do not overlap with it.

    Args:
        images: Each worker's share of a batch.
        rate: Images a second of one worker alone.
        megabytes: Of the gradient, in millions of bytes.
        bandwidth: Millions of bytes a second that a worker can send while it receives as many.
        workers: How many.
        latency: Seconds of one message between two workers.
    """
    gradient = all_reduce_seconds(megabytes, bandwidth, workers, latency)
    return images / rate + gradient + SCALARS * all_reduce_seconds(0, bandwidth, workers, latency)


def all_reduce_seconds(megabytes, bandwidth, workers, latency=0.0):
    """Return the seconds in which a ring of workers adds up a vector, each ending with the sum.

    Each sends `2 (workers - 1)` times a `workers`th of the vector (Patarasuk and Yuan, "Bandwidth
    Optimal All-reduce Algorithms for Clusters of Workstations", 2009).
    """
    messages = 2 * (workers - 1)
    return messages * (megabytes / workers / bandwidth + latency)


def main():
    """Measure, or print the table of the model."""
    options = _parser().parse_args()
    if options.worker:
        return print(json.dumps(work(**json.loads(options.worker))), flush=True)
    if options.table:
        return print(table())
    alone = start([0], options)
    apart = start([0, 1], options, connected=False)
    two = start([0, 1], options)
    return print(compare(alone, apart, two))


def start(cores, options, connected=True):
    """Run a worker on each core, in one cluster or in one each; return what each measured."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in cores]
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    processes = []
    try:
        for place, core in enumerate(cores):
            cluster = {"worker": workers if connected else [workers[place]]}
            index = place if connected else 0
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            task = {"core": core, "rounds": options.rounds, "steps": options.steps}
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            command = [sys.executable, __file__, "--worker", json.dumps(task)]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            )
        texts = [process.communicate(timeout=options.limit)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [json.loads(text.splitlines()[-1]) for text in texts]


def work(core, rounds, steps):
    """Be one worker: measure training and all-reduces together with the others."""
    os.sched_setaffinity(0, {core})
    from recipes import get_recipe, load_data, open_devices

    devices = open_devices("multiworker", connect_seconds=60)
    data = load_data("fashion-mini")
    recipe = get_recipe("fashion-mini").override(
        {"model.width": WIDTH, "training.precision": "float32", "training.epochs": 1000}
    )
    found = {"rates": {}, "reduce": {}}
    for batch in BATCHES:
        settings = {"training.batch_size": batch * devices.workers}
        found["rates"][batch], found["parameters"] = training_rates(
            recipe.override(settings), data, devices, rounds, max(steps * 32 // batch, 4)
        )
    if devices.workers > 1:
        gradient = found["parameters"] * 4 / 1e6
        for megabytes in (*MEGABYTES, gradient):
            found["reduce"][megabytes] = reduce_seconds(megabytes, devices, rounds)
        found["packed"] = reduce_seconds(gradient, devices, rounds, pieces=30)
    return found


def training_rates(recipe, data, devices, rounds, steps):
    """Return images a second of this worker, a number a round, and the trainable parameters."""
    import math

    from recipes.compiling import compile_model
    from recipes.network import Network
    from recipes.training import training_pipeline

    with devices.scope():
        model = Network(recipe, data).build("float32")
        compile_model(recipe, model, None, 1000, devices)
    part = devices.index, devices.workers
    pipeline = training_pipeline(recipe, data, recipe.training.batch_size, part=part)
    dataset = devices.distribute(pipeline)
    rates = []
    for _ in range(rounds + 1):
        clock = Clock()
        model.fit(
            dataset, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock.callback()]
        )
        rates.append(recipe.training.batch_size / devices.workers / clock.median())
    # The first round traces and compiles.
    return rates[1:], sum(math.prod(weight.shape) for weight in model.trainable_weights)


class Clock:
    """The time from the end of a step to that of the next, without what `fit` does around them."""

    def __init__(self):
        self.ends = []

    def callback(self):
        """Return the callback that notes the time after each step."""
        import keras

        def note(batch, logs):
            self.ends.append(time.perf_counter())

        return keras.callbacks.LambdaCallback(on_train_batch_end=note)

    def median(self):
        """Return the seconds of a step."""
        return statistics.median(
            after - before for before, after in zip(self.ends, self.ends[1:], strict=False)
        )


def reduce_seconds(megabytes, devices, rounds, pieces=1):
    """Return the seconds of an all-reduce, a number a round, of a vector in some pieces."""
    import tensorflow as tf

    size = max(int(megabytes * 1e6 / 4 / pieces), 1)
    repeats = int(min(max(20 / max(megabytes, 0.1), 4), 50))

    @tf.function
    def reduce(*vectors):
        def together(*mine):
            replica = tf.distribute.get_replica_context()
            # What is made here lies on a device, which the strategy asks for.
            mine = [tf.identity(vector) for vector in mine]
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return devices.strategy.run(together, args=vectors)

    vectors = [tf.ones([size]) for _ in range(pieces)]
    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(repeats):
            result = reduce(*vectors)
        result[0].numpy()
        found.append((time.perf_counter() - started) / repeats)
    return found[1:]


def compare(alone, apart, two):
    """Return the tables: all-reduce by size, and steps measured and foretold."""
    parameters = alone[0]["parameters"]
    gradient = parameters * 4 / 1e6
    lines = [
        f"resnet9 of width {WIDTH}: {parameters:,} trainable parameters, "
        f"{gradient:.2f} MB of gradient a step",
        "",
        "| all-reduce, MB | ms, two workers | MB/s sent by each |",
        "|---|---|---|",
    ]
    for text, seconds in two[0]["reduce"].items():
        megabytes, middle = float(text), statistics.median(seconds)
        # Each of two sends the size of the vector: two messages of half of it.
        lines.append(f"| {megabytes:.3f} | {1000 * middle:.2f} | {megabytes / middle:,.0f} |")
    packed = statistics.median(two[0]["packed"])
    reduced = packed + SCALARS * statistics.median(two[0]["reduce"][str(MEGABYTES[0])])
    lines += [
        "",
        f"In 30 pieces, as a gradient comes: {1000 * packed:.2f} ms.",
        "",
        "| images a worker | one worker alone, images/s | two apart, together | two connected, "
        "together | of two apart | foretold | all-reduces, share of the step |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch in BATCHES:
        one = _images_a_second(alone, batch)
        free = _images_a_second(apart, batch)
        both = _images_a_second(two, batch)
        seconds = 2 * batch / free
        share = reduced / (2 * batch / both)
        lines.append(
            f"| {batch} | {one:,.0f} | {free:,.0f} | {both:,.0f} | {both / free:.2f} | "
            f"{seconds / (seconds + reduced):.2f} | {100 * share:.1f} % |"
        )
    return "\n".join(lines)


def _images_a_second(workers, batch):
    """Return the images a second of all workers together, each by its median round."""
    return sum(statistics.median(worker["rates"][str(batch)]) for worker in workers)


# name, megabytes of gradient, images a second of one device, images of it a step
_CASES = (
    ("ResNet-9 of width 32, one core", 1.86, 300.0, 64),
    ("ResNet-50, a GPU of 400 images/s", 102.2, 400.0, 64),
    ("ResNet-50, a GPU of 2,500 images/s", 102.2, 2500.0, 256),
)
_NETWORKS = (("1 Gbit/s", 125.0), ("10 Gbit/s", 1250.0), ("100 Gbit/s", 12500.0))


def table():
    """Return what the model says of other machines, at 50 microseconds a message."""
    lines = [
        "| case | network | images below which communication takes longer | efficiency of 2 | of 8 "
        "| of 32 |",
        "|---|---|---|---|---|---|",
    ]
    for name, megabytes, rate, images in _CASES:
        for network, bandwidth in _NETWORKS:
            even = rate * all_reduce_seconds(megabytes, bandwidth, 8, 5e-5)
            shares = [
                images / rate / step_seconds(images, rate, megabytes, bandwidth, workers, 5e-5)
                for workers in (2, 8, 32)
            ]
            cells = " | ".join(f"{100 * share:.0f} %" for share in shares)
            lines.append(f"| {name}, {images} a step | {network} | {even:,.0f} | {cells} |")
    return "\n".join(lines)


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print what the model says")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24, help="of 32 images, a round")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds for each measurement")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
