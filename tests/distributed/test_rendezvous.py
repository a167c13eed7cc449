"""All workers meet, or each hears in one line why not."""

import concurrent.futures
import socket
import time

import pytest

from recipes.distributed.cluster import Cluster
from recipes.distributed.rendezvous import meet
from recipes.errors import ClusterError


@pytest.fixture
def addresses():
    """Return three addresses on this machine with free ports."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    names = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in found)
    for each in found:
        each.close()
    return names


def meet_all(clusters, facts=None, seconds=10.0, between=0.0):
    """Let one thread each meet; return what each raised, or `None`."""
    facts = facts or [{}] * len(clusters)
    with concurrent.futures.ThreadPoolExecutor(len(clusters)) as pool:
        waiting = []
        for cluster, known in zip(clusters, facts, strict=True):
            waiting.append(pool.submit(meet, cluster, known, seconds))
            time.sleep(between)
        return [each.exception() for each in waiting]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_come_in_any_order(order, addresses):
    clusters = [Cluster(addresses, index) for index in order]
    started = time.monotonic()
    assert meet_all(clusters, [{"versions": "1"}] * 3, between=0.3) == [None] * 3
    assert time.monotonic() - started < 5
    # The port is free again for TensorFlow.
    socket.create_server(("127.0.0.1", clusters[order.index(0)].port)).close()


def test_who_is_missing_is_said_to_all(addresses):
    found = meet_all([Cluster(addresses, 0), Cluster(addresses, 2)], seconds=1.0)
    for error in found:
        assert isinstance(error, ClusterError)
        assert str(error) == f"did not come within 1 s: worker 1 ({addresses[1]})"


def test_an_unreachable_chief(addresses):
    started = time.monotonic()
    with pytest.raises(ClusterError) as raised:
        meet(Cluster(addresses, 1), {}, 0.5)
    assert str(raised.value) == (f"cannot reach the chief, worker 0 ({addresses[0]}) within 0.5 s")
    assert time.monotonic() - started < 5


def test_a_port_in_use(addresses):
    cluster = Cluster(addresses[:2], 0)
    with (
        socket.create_server(("", cluster.port)),
        pytest.raises(ClusterError, match=f"cannot listen on port {cluster.port} .*in use"),
    ):
        meet(cluster, {}, 1.0)


def test_other_facts_are_refused_everywhere(addresses):
    clusters = [Cluster(addresses, index) for index in range(3)]
    facts = [{"command": "train"}, {"command": "train"}, {"command": "train --resume"}]
    for error in meet_all(clusters, facts, between=0.3):
        assert str(error) == (
            f"worker 2 ({addresses[2]}) has another command: train --resume, expected: train"
        )


def test_another_cluster_is_refused(addresses):
    clusters = [Cluster(addresses[:2], 0), Cluster((addresses[0], "elsewhere:1"), 1)]
    for error in meet_all(clusters):
        assert "worker 1 has another cluster in TF_CONFIG" in str(error)


def test_the_same_place_twice_is_refused(addresses):
    clusters = [Cluster(addresses, 0), Cluster(addresses, 1), Cluster(addresses, 1)]
    found = meet_all(clusters, between=0.3)
    assert "two processes say that they are worker 1" in str(found[0])
    assert all(isinstance(error, ClusterError) for error in found)


def test_strangers_and_the_killed_are_passed_over(addresses):
    cluster = Cluster(addresses[:2], 0)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        chief = pool.submit(meet, cluster, {}, 10.0)
        for words in (b"GET / HTTP/1.0\r\n\r\n\n", b"null\n", b'{"index": "1"}\n', b""):
            for _ in range(50):
                try:
                    with socket.create_connection(("127.0.0.1", cluster.port)) as stranger:
                        stranger.sendall(words)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
        # One that greets like worker 1, and is killed before the chief answers.
        worker = pool.submit(meet, Cluster(addresses[:2], 1), {}, 10.0)
        assert worker.exception() is None
        assert chief.exception() is None


def test_one_worker_waits_for_nobody(addresses):
    meet(Cluster(addresses[:1], 0), {}, 1.0)
