"""Three replicas behind nginx (docker/gateway/balancer.conf) and behind HAProxy (haproxy.cfg).

They are restarted and killed under load, and equal to the bit.
"""

import concurrent.futures
import http.client
import signal
import tempfile
import threading
import time
import unittest
from dataclasses import dataclass
from pathlib import Path

from support import ROOT, Answer, HAProxy, Nginx, Server, free_port, main, post_image, request, wait_until

MODELS = ["fashion-mnist-pixelcnn", "fashion-mnist-vae"]
CLIENTS = 6
CALLS = [
    "/v1/models/fashion-mnist-pixelcnn/score",
    "/v1/models/fashion-mnist-pixelcnn/score?map=true",
    "/v1/models/fashion-mnist-vae/score?bound=iwae&k=16&seed=7",
    "/v1/models/fashion-mnist-vae/encode",
    "/v1/models/fashion-mnist-pixelcnn/complete?rows=20&seed=3",
]


@dataclass
class Asked:
    """A request, and when it was under way."""

    call: str
    start: float
    end: float
    answer: Answer | None


class Load:
    """Clients that ask one call after another until the end of a `with`."""

    def __init__(self, address):
        self.address = address
        self.asked = []
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        self.clients = [self.pool.submit(self.client, number) for number in range(CLIENTS)]

    def client(self, number):
        while not self.over.is_set():
            call = CALLS[number % len(CALLS)]
            start = time.monotonic()
            try:
                answer = post_image(self.address, call, "shoe.png")
            except (OSError, http.client.HTTPException):
                answer = None
            self.asked.append(Asked(call, start, time.monotonic(), answer))
            number += 1

    def advance(self, requests):
        """Waits until so many more requests have been answered."""
        wanted = len(self.asked) + requests
        wait_until(lambda: len(self.asked) >= wanted, 60, lambda: f"{requests} more answers")

    def lost(self):
        return [asked for asked in self.asked if asked.answer is None or asked.answer.status != 200]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.pool.shutdown()
        for client in self.clients:
            client.result()


class Replicas:
    """What holds behind any balancer."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for model in MODELS:
            (Path(folder.name) / model).symlink_to(ROOT / "models" / "repository" / model)
        self.repository = folder.name
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        self.replicas = [self.start(address) for address in self.addresses]
        names = {f"density-server-{number}:8000": address for number, address in enumerate(self.addresses, 1)}
        self.balancer = self.balance(names)
        self.addCleanup(self.balancer.__exit__)

    def start(self, address):
        arguments = ("--repository", self.repository, "--workers", "1", "--proof-records", "none", *self.FLAGS)
        replica = Server(*arguments, address=address)
        self.addCleanup(replica.__exit__)
        return replica

    def assert_all_equal(self, load):
        for call in CALLS:
            bodies = {asked.answer.body for asked in load.asked if asked.call == call and asked not in load.lost()}
            self.assertEqual(len(bodies), 1, f"{call}: replicas differ")

    def served_by(self):
        """How many requests each replica has answered."""
        counts = []
        for address in self.addresses:
            lines = request(address, "GET", "/metrics").body.decode().splitlines()
            posts = [line for line in lines if line.startswith('density_http_requests_total{method="POST"')]
            counts.append(sum(float(line.rsplit(" ", 1)[1]) for line in posts))
        return counts

    def test_a_rolling_restart_loses_nothing_and_all_replicas_answer_alike(self):
        with Load(self.balancer.address) as load:
            load.advance(60)
            self.assertTrue(all(self.served_by()), "each replica has a share")
            for number, address in enumerate(self.addresses):
                replica = self.replicas[number]
                replica.process.terminate()
                self.assertEqual(replica.process.wait(60), 0, replica.log())
                load.advance(30)
                self.replicas[number] = self.start(address)
                wait_until(lambda number=number: self.served_by()[number], 30, lambda: "a share of the new replica")
        self.assertEqual(load.lost(), [])
        self.assert_all_equal(load)
        print(f"{self.balancer.process.args[0]}: rolling restart: {len(load.asked)} requests, 0 lost")

    def test_a_killed_replica_loses_nothing_but_what_was_under_way(self):
        with Load(self.balancer.address) as load:
            load.advance(60)
            before = time.monotonic()
            self.replicas[0].process.send_signal(signal.SIGKILL)
            self.replicas[0].process.wait()
            after = time.monotonic()
            load.advance(60)
        lost = load.lost()
        self.assertEqual([asked for asked in lost if asked.start > after or asked.end < before], [])
        self.assertLessEqual(len(lost), self.LOST)
        self.assert_all_equal(load)
        print(f"{self.balancer.process.args[0]}: kill -9 of one of three: {len(load.asked)} requests, {len(lost)} lost")


class BehindNginx(Replicas, unittest.TestCase):
    FLAGS = ()
    LOST = 0  # Whatever was under way is asked of another.

    def balance(self, names):
        return Nginx("balancer.conf", names)


class BehindHAProxy(Replicas, unittest.TestCase):
    FLAGS = ("--drain-delay", "5", "--trusted-proxies", "127.0.0.1", "--clients-by", "address")
    LOST = CLIENTS

    def balance(self, names):
        return HAProxy("haproxy.cfg", names)


if __name__ == "__main__":
    main()
