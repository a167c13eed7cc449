"""`TF_CONFIG` is read as TensorFlow reads it, and what is wrong with it is one line."""

import json

import pytest
import tensorflow as tf

from recipes.distributed.cluster import Cluster, cluster_from_environment
from recipes.distributed.devices import Devices, open_devices
from recipes.errors import ClusterError, ConfigError

TWO = {"worker": ["a:1", "b:2"]}


def read(cluster, kind="worker", index=0):
    config = {"cluster": cluster, "task": {"type": kind, "index": index}}
    return cluster_from_environment({"TF_CONFIG": json.dumps(config)})


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "expected"),
    [
        (TWO, "worker", 0, Cluster(("a:1", "b:2"), 0)),
        (TWO, "worker", 1, Cluster(("a:1", "b:2"), 1)),
        (TWO, "worker", "1", Cluster(("a:1", "b:2"), 1)),
        ({"chief": ["c:3"], **TWO}, "chief", 0, Cluster(("c:3", "a:1", "b:2"), 0)),
        ({"chief": ["c:3"], **TWO}, "worker", 0, Cluster(("c:3", "a:1", "b:2"), 1)),
        ({"worker": ["[::1]:5"]}, "worker", 0, Cluster(("[::1]:5",), 0)),
    ],
)
def test_places_are_those_of_tensorflow(cluster, kind, index, expected, monkeypatch):
    found = read(cluster, kind, index)
    assert found == expected
    config = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    theirs = resolver.cluster_spec().as_dict()
    assert theirs.get("chief", []) + theirs["worker"] == list(found.workers)
    first = len(theirs.get("chief", [])) if resolver.task_type == "worker" else 0
    assert first + resolver.task_id == found.index
    assert found.is_chief == (found.index == 0)
    assert found.port == int(found.workers[found.index].split(":")[-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the environment variable TF_CONFIG, such as"),
        ("{", "TF_CONFIG is not JSON .*expected such as"),
        ("[]", "TF_CONFIG has no object 'cluster'"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG has no object 'task'"),
        ('{"cluster": {}, "task": {}}', "cluster names no worker"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {}}', "may hold 'chief' and 'worker', .*'ps'"),
        ('{"cluster": {"worker": "a:1"}, "task": {}}', "worker must be a list.*'a:1'"),
        ('{"cluster": {"worker": ["a"]}, "task": {}}', "addresses 'host:port', received: 'a'"),
        ('{"cluster": {"worker": ["a:0"]}, "task": {}}', "addresses 'host:port'.*'a:0'"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {}}', "addresses 'host:port'.*99999"),
        ('{"cluster": {"worker": [7]}, "task": {}}', "addresses 'host:port', received: 7"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {}}', "names a:1 twice"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {}}', "one chief, received: 2"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {}}', "task.type must be .*None"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "place of this process among the 1 of cluster.worker, .*received: 1",
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
            "received: -1",
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": true}}',
            "received: True",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "among the 0"),
    ],
)
def test_what_is_wrong_is_one_line(text, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ClusterError, match=message) as raised:
        open_devices("multiworker", connect_seconds=1)
    assert "\n" not in str(raised.value)


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="strategy must be one of none.*received: 'mirror'"):
        open_devices("mirror")
    with pytest.raises(ConfigError, match="connect_seconds must be positive, received: 0"):
        open_devices("multiworker", connect_seconds=0)


def test_one_device_asks_nobody():
    devices = open_devices()
    assert open_devices(devices) is devices
    assert devices.describe() == {"strategy": "none", "workers": 1, "replicas": 1}
    assert devices.agree(lambda: 7, chief_only=True) == 7
    assert devices.from_chief({"a": 1}) == {"a": 1}
    devices.same({"images": "x"})


class _Told(Devices):
    """The second of two processes, which hears what a test says."""

    def __init__(self, other, index=1):
        super().__init__("multiworker", None, Cluster(("a:1", "b:2"), index))
        self.other = other

    def _gather(self, text):
        return [text, self.other] if self.is_chief else [self.other, text]


def test_what_fails_in_one_process_fails_in_all():
    assert _Told("null").agree(lambda: 7) == 7
    assert _Told("null").agree(lambda: 7, chief_only=True) is None
    with pytest.raises(ClusterError, match=r"the chief, worker 0 \(a:1\): no such folder"):
        _Told('"no such folder"').agree(lambda: 7)

    def fail():
        raise ConfigError("mine")

    with pytest.raises(ConfigError, match="mine"):
        _Told('"theirs"').agree(fail)


def test_other_images_are_refused():
    _Told('{"images": "abc"}').same({"images": "abc"})
    for index in (0, 1):
        with pytest.raises(ClusterError, match=r"worker 1 \(b:2\) has another images than") as told:
            _Told('{"images": "abc"}', index).same({"images": "def"})
        assert "abc" in str(told.value)
        assert "def" in str(told.value)
