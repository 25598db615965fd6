"""Three replicas behind nginx (docker/gateway/balancer.conf): restarted and killed under load, equal to the bit."""

import concurrent.futures
import signal
import tempfile
import threading
import unittest
from pathlib import Path

from support import ROOT, Nginx, Server, free_port, main, post_image, request, wait_until

MODELS = ["fashion-mnist-pixelcnn", "fashion-mnist-vae"]
CLIENTS = 6
CALLS = [
    "/v1/models/fashion-mnist-pixelcnn/score",
    "/v1/models/fashion-mnist-pixelcnn/score?map=true",
    "/v1/models/fashion-mnist-vae/score?bound=iwae&k=16&seed=7",
    "/v1/models/fashion-mnist-vae/encode",
]


class Load:
    """Clients that ask one call after another until the end of a `with`; `answers` are those to each call."""

    def __init__(self, address):
        self.address = address
        self.answers = {call: [] for call in CALLS}
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        self.clients = [self.pool.submit(self.client, number) for number in range(CLIENTS)]

    def client(self, number):
        while not self.over.is_set():
            call = CALLS[number % len(CALLS)]
            self.answers[call].append(post_image(self.address, call, "shoe.png"))
            number += 1

    def count(self):
        return sum(map(len, self.answers.values()))

    def advance(self, requests):
        """Waits until so many more requests have been answered."""
        wanted = self.count() + requests
        wait_until(lambda: self.count() >= wanted, 60, lambda: f"{requests} more answers")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.pool.shutdown()
        for client in self.clients:
            client.result()


class Replicas(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for model in MODELS:
            (Path(folder.name) / model).symlink_to(ROOT / "models" / "repository" / model)
        self.repository = folder.name
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        self.replicas = [self.start(address) for address in self.addresses]
        names = {f"density-server-{number}:8000": address for number, address in enumerate(self.addresses, 1)}
        self.balancer = Nginx("balancer.conf", names)
        self.addCleanup(self.balancer.__exit__)

    def start(self, address):
        replica = Server("--repository", self.repository, "--workers", "1", address=address)
        self.addCleanup(replica.__exit__)
        return replica

    def assert_nothing_lost_and_all_equal(self, load):
        for call, answers in load.answers.items():
            self.assertEqual({answer.status for answer in answers}, {200}, call)
            self.assertEqual(len({answer.body for answer in answers}), 1, f"{call}: replicas differ")

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
                load.advance(30)
        self.assert_nothing_lost_and_all_equal(load)
        print(f"rolling restart: {load.count()} requests, 0 lost")

    def test_a_killed_replica_loses_nothing_that_another_can_answer(self):
        with Load(self.balancer.address) as load:
            load.advance(60)
            self.replicas[0].process.send_signal(signal.SIGKILL)
            load.advance(60)
        self.assert_nothing_lost_and_all_equal(load)
        print(f"kill -9 of one of three: {load.count()} requests, 0 lost")


if __name__ == "__main__":
    main()
