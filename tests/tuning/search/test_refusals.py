"""Who is refused: wrong arguments, a chief that is not there, workers on something else."""

import socket

import numpy as np
import pytest

from recipes import ConfigError, RunError
from recipes.cli import main

pytest.importorskip("keras_tuner")

from recipes import load_data
from tuning import _search_cluster as clusters
from tuning import _search_runners as runners
from tuning import _search_worker as workers
from tuning import search
from tuning._search_chief import Chief
from tuning._search_cluster import Cluster, cluster_from_environment
from tuning._search_trials import read_trials

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}
# KerasTuner asks for the thread by names that Python 3.10 gave up, here on threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({"workers": 0}, {}, "workers must be a whole number above 0, received: 0"),
        ({"workers": 1.5}, {}, "workers must be a whole number above 0"),
        ({"recycle": 0}, {}, "recycle must be a whole number above 0"),
        ({"workers": 2}, {"IP": "a", "PORT": "80", "ID": "chief"}, "are for one machine"),
        ({}, {"IP": "a", "PORT": "80"}, "KERASTUNER_TUNER_ID is needed, too"),
        ({}, {"IP": "a", "ID": "w"}, "KERASTUNER_ORACLE_PORT is needed, too"),
        ({}, {"IP": "a", "PORT": "http", "ID": "w"}, "must be a port from 1 to 65535"),
        ({}, {"IP": "a", "PORT": "80", "ID": "w#1"}, "must be without #"),
    ],
)
def test_wrong_arguments(arguments, environment, message, recipe, data, tmp_path, monkeypatch):
    names = {"IP": "ORACLE_IP", "PORT": "ORACLE_PORT", "ID": "TUNER_ID"}
    for name, value in environment.items():
        monkeypatch.setenv(f"KERASTUNER_{names[name]}", value)
    with pytest.raises(ConfigError) as caught:
        search(recipe, data, SPACE, trials=2, out=tmp_path / "a", **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_the_environment_of_no_cluster():
    assert cluster_from_environment({"KERASTUNER_TUNER_ID": "tuner0"}) is None


@pytest.fixture
def place(monkeypatch):
    """Return a function that gives this process a place in a cluster."""

    def set_place(name, port):
        monkeypatch.setenv("KERASTUNER_TUNER_ID", name)
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))

    return set_place


def test_a_chief_that_is_not_there(place, processes, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(clusters, "PATIENCE", 0.3)
    (port,) = processes.free_ports(1)
    place("worker1", port)
    command = ["search", "fashion-mini", "fashion-mini", "--trials", "2"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert f"recipes: no chief answers at 127.0.0.1:{port} after 0.3 s" in line
    assert not (tmp_path / "a").exists()


def test_a_port_that_is_taken(place, recipe, data, tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        place("chief", listening.getsockname()[1])
        with pytest.raises(RunError, match="the chief cannot listen at 127.0.0.1:.*is the port"):
            search(recipe, data, SPACE, trials=2, out=tmp_path / "a")


@pytest.mark.parametrize("other", ["data", "recipe", "space", "seed"])
def test_a_worker_on_something_else(other, place, recipe, data, monkeypatch, tmp_path):
    """Refused before it has done anything; so is one that does not see the chief's folder."""

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runners, "run_recipe_trial", interrupt)
    said = []
    alone = {"epochs_per_trial": 2, "preflight": False, "range_test": False, "say": said.append}
    with pytest.raises(KeyboardInterrupt):
        search(recipe, data, SPACE, trials=2, out=tmp_path / "a", **alone)
    given = {"recipe": recipe, "data": data, "space": SPACE, "seed": 0}
    images = data.splits["train"].load(np.arange(60))
    changed = {
        "data": load_data((images, np.arange(60) % 3), validation=0.25),
        "recipe": recipe.override({"model.dropout": 0.1}),
        "space": {"model.width": [4, 8]},
        "seed": 1,
    }
    given[other] = changed[other]
    with Chief(Cluster("chief", "127.0.0.1", 0), said.append) as chief:
        place("worker1", chief.cluster.port)
        with pytest.raises(RunError) as caught:
            search(**given, trials=2, out=tmp_path / "a", **alone)
    assert str(caught.value) == (
        f"worker1 was given another search than that in {tmp_path / 'a'}: its {other} differs"
    )
    assert not read_trials(tmp_path / "a" / "coarse")


def test_a_worker_that_does_not_see_the_folder(place, recipe, data, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_SIGHT", 0.1)
    with Chief(Cluster("chief", "127.0.0.1", 0), print) as chief:
        chief._ready = True
        place("worker1", chief.cluster.port)
        with pytest.raises(RunError, match="worker1 does not see .*search.json, which its chief"):
            search(recipe, data, SPACE, trials=2, out=tmp_path / "a")
