"""Two processes train what one does; killed and started again, to the same bits."""

import contextlib
import json
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest

from recipes import load_data, train
from recipes.network import Network
from recipes.run import Run

SCRIPT = Path(__file__).with_name("worker.py")
WORKER = runpy.run_path(str(SCRIPT))
SECONDS = 240
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_workers(processes):
    """Return what starts two processes of `worker.py`; none of them outlives the block."""

    @contextlib.contextmanager
    def start_both(source, *more, outs, **added):
        with processes.started() as start:
            yield [
                start(
                    [sys.executable, SCRIPT, "multiworker", source, out, *more],
                    stderr=subprocess.STDOUT,
                    env=processes.environment(TF_CONFIG=configuration, **added),
                )
                for out, configuration in zip(
                    outs, processes.cluster_configurations(len(outs)), strict=True
                )
            ]

    return start_both


def answers(workers):
    """Wait for the end; return exit codes and what was printed."""
    texts = [worker.communicate(timeout=SECONDS)[0] for worker in workers]
    return [worker.returncode for worker in workers], texts


def weights_of(folder):
    return keras.saving.load_model(folder / "model.keras").get_weights()


@pytest.fixture(scope="module")
def two(two_workers, tiny_source, tmp_path_factory):
    """Return the folder of a run of two processes, of which the second was given another one."""
    folder = tmp_path_factory.mktemp("two")
    with two_workers(tiny_source, outs=(folder / "chief", folder / "other")) as workers:
        codes, texts = answers(workers)
    assert codes == [0, 0], texts
    return folder


def test_two_processes_train_what_one_does(two, tiny_source, tmp_path):
    with mock.patch.object(Network, "_plain", WORKER["small_network"]):
        data = load_data(tiny_source)
        more = WORKER["more_callbacks"](data)
        one = train(WORKER["tiny_recipe"](), data, tmp_path, callbacks=more, progress=False)
    for found, expected in zip(weights_of(two / "chief"), weights_of(tmp_path), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    run = Run(two / "chief")
    for found, expected in zip(run.history, one.history, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert found[name] == pytest.approx(expected[name], abs=1e-5)
    assert run.environment["devices"] == {
        "strategy": "multiworker",
        "workers": 2,
        "replicas": 2,
    }


def test_only_the_chief_writes(two):
    assert [path.name for path in two.iterdir()] == ["chief"]


def test_a_killed_worker_and_a_new_start_end_at_the_same_bits(
    two, two_workers, processes, tiny_source, tmp_path
):
    outs = (tmp_path / "chief", tmp_path / "other")
    with two_workers(tiny_source, outs=outs, PAUSE="1") as (chief, other):
        processes.until((outs[0] / "checkpoints" / "epoch-0001.npz").exists, chief, other)
        other.kill()
        text = chief.communicate(timeout=SECONDS)[0]
        assert chief.returncode == 2
        assert "refused: contact with another worker was lost" in text
    assert not Run(outs[0]).finished
    # The second process is on a machine that sees nothing of the run.
    elsewhere = (outs[0], Path("/nowhere/to/be/seen"))
    with two_workers(tiny_source, "--resume", outs=elsewhere) as workers:
        codes, texts = answers(workers)
    assert codes == [0, 0], texts
    assert "resuming after epoch" in texts[0]
    for found, expected in zip(weights_of(outs[0]), weights_of(two / "chief"), strict=True):
        np.testing.assert_array_equal(found, expected)
    drop = ("seconds", "images_per_second")
    found, expected = (
        [{name: epoch[name] for name in epoch if name not in drop} for epoch in run.history]
        for run in (Run(outs[0]), Run(two / "chief"))
    )
    assert found == expected


@pytest.mark.exhaustive
def test_workers_with_other_images_are_refused(two_workers, processes, tiny_source, tmp_path):
    with two_workers("fashion-mini", outs=(tmp_path / "a", tmp_path / "b")) as (chief, second):
        second.kill()
        second.wait()
        config = json.loads(_environment_of(chief)["TF_CONFIG"])
        config["task"]["index"] = 1
        other = subprocess.run(
            [sys.executable, SCRIPT, "multiworker", tiny_source, tmp_path / "b"],
            env=processes.environment(TF_CONFIG=json.dumps(config)),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        text = chief.communicate(timeout=SECONDS)[0]
    for found in (text, other.stdout):
        assert "has another fingerprint of its images than the chief" in found
    assert not list(tmp_path.iterdir()), "nothing is written"


def _environment_of(process):
    text = Path(f"/proc/{process.pid}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)
