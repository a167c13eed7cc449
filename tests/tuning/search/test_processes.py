"""Searches by real processes: killed in every way, they are finished all the same."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("keras_tuner")


def children(pid):
    """Return the processes that a process started and that run."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_killed_in_every_way_and_finished(tiny_recipe, tiny_source, processes, tmp_path):
    """A worker with SIGKILL, the chief with SIGKILL, all with Ctrl-C; then it is finished."""
    recipe = tiny_recipe.override({"training.epochs": 3, "model.width": 4})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    out = tmp_path / "search"
    command = [sys.executable, "-m", "recipes", "search", str(tmp_path / "recipe.json")]
    command += [tiny_source, "--out", str(out), "--no-preflight", "--no-range-test"]
    command += ["--no-prune", "--json"]
    command += ["--algorithm", "grid", "--vary", "optimizer.learning_rate: 0.05, 0.1"]
    command += ["--vary", "model.width: 4, 6", "--epochs", "2"]
    runs, trials = out / "coarse" / "runs", out / "coarse" / "trials"

    with processes.started() as start:
        chief = start([*command, "--workers", "2"])
        processes.until(lambda: list(runs.glob("*/history.jsonl")), chief)
        crew = children(chief.pid)
        assert len(crew) == 2
        killed = next(int(number.parent.name) for number in runs.glob("*/history.jsonl"))
        # Which of the two has it is not known: both lose theirs.
        for worker in crew:
            os.kill(worker, signal.SIGKILL)
        processes.until(lambda: (trials / f"{killed:04d}.json").exists(), chief)
        crew = children(chief.pid)
        chief.kill()
        said = chief.communicate()[1]
        assert f"in coarse {killed}, which is run again" in said
        # None outlives its chief.
        processes.until(lambda: not any(map(is_running, crew)), seconds=10)

        # Ctrl-C goes to all processes of the terminal.
        chief = start([*command, "--workers", "2"])
        processes.until(lambda: len(children(chief.pid)) == 2, chief)
        crew = children(chief.pid)
        time.sleep(1)
        for number in (*crew, chief.pid):
            os.kill(number, signal.SIGINT)
        assert chief.wait(20) == 130
        assert chief.communicate()[1].splitlines()[-1] == "recipes: interrupted"
        assert not any(map(is_running, crew))
        assert not (out / "workers").exists()
        finished = {path: path.read_text() for path in trials.glob("*.json")}
        assert 1 <= len(finished) < 4

        # One worker, a fresh process after two trials; what is done is not done again.
        last = start([*command, "--workers", "1", "--recycle", "2"])
        answer, said = last.communicate(timeout=240)
        assert last.returncode == 0, said
    found = json.loads(answer)
    assert sorted(trial["number"] for trial in found["trials"]) == list(range(4))
    assert {path: path.read_text() for path in finished} == finished
    values = [
        (trial["values"]["optimizer.learning_rate"], trial["values"]["model.width"])
        for trial in found["trials"]
    ]
    assert sorted(values) == [(rate, width) for rate in (0.05, 0.1) for width in (4, 6)]
    lines = [line for line in said.splitlines() if line.startswith("coarse")]
    assert len(lines) == 4 - len(finished)


@pytest.mark.exhaustive
def test_as_on_several_machines(tiny_recipe, tiny_source, processes, tmp_path):
    """With KerasTuner's variables; a worker is killed and started again under its name."""
    recipe = tiny_recipe.override({"training.epochs": 4, "model.width": 4})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    out = tmp_path / "search"
    command = [sys.executable, "-m", "recipes", "search", str(tmp_path / "recipe.json")]
    command += [tiny_source, "--out", str(out), "--no-preflight", "--no-prune", "--json"]
    command += ["--no-range-test", "--vary", "optimizer.learning_rate: log 1e-2..1"]
    command += ["--epochs", "2"]
    command += ["--trials", "6", "--refine", "--seeds", "2"]
    (port,) = processes.free_ports(1)

    def environment(name):
        return processes.environment(
            KERASTUNER_TUNER_ID=name,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=str(port),
        )

    with processes.started() as start:
        first = start(command, env=environment("worker0"))
        chief = start(command, env=environment("chief"))
        history = out / "coarse" / "runs" / "0000" / "history.jsonl"
        processes.until(history.exists, chief)
        first.kill()
        first.communicate()
        assert not (out / "coarse" / "trials" / "0000.json").exists()
        crew = [start(command, env=environment(name)) for name in ("worker0", "worker1")]
        answer, said = chief.communicate(timeout=500)
        assert chief.returncode == 0, said
        for worker in crew:
            printed, said_there = worker.communicate(timeout=60)
            assert worker.returncode == 0, said_there
            # What the chief found, as far as trials go.
            assert json.loads(printed)["best"] == json.loads(answer)["best"]
    found = json.loads(answer)
    counts = [trial["stage"] for trial in found["trials"]]
    assert (counts.count("coarse"), counts.count("refined")) == (4, 2)
    assert len(found["seeds"]["accuracies"]) == 2
    assert "waiting for workers at 127.0.0.1" in said
