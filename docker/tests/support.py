"""What the tests of docker/ share: the real server and its clients, on free ports of the loopback interface."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
IMAGES = ROOT / "tests" / "fixtures" / "images"
BINARY = Path(os.environ.get("DENSITY_SERVER", ROOT / "target" / "release" / "density-server"))

NGINX_MODULES = "/usr/lib/nginx/modules"

# How long a client waits: on a busy machine, drawings that others are in front of take long.
ANSWER_SECONDS = 180

# Loading proves every model, which takes about half a minute on two cores for all that are committed, if they are free.
START_SECONDS = 300


class Answer:
    """An HTTP answer, read whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def request(address, method, path, body=None, headers=None, timeout=ANSWER_SECONDS):
    """One request to `host:port` on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def post_image(address, path, name, timeout=ANSWER_SECONDS):
    """Posts the PNG `name` of tests/fixtures/images."""
    return request(address, "POST", path, (IMAGES / name).read_bytes(), {"content-type": "image/png"}, timeout)


def free_port():
    """A port that was free a moment ago, for programs that cannot report one of their own choice."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, seconds, what):
    """What `condition` gives once that is true. Errors of the network count as false; `what` was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := condition():
                return found
        time.sleep(0.1)
    raise AssertionError(f"within {seconds} s: {what()}")


def clean_environment(more=None):
    """This process's environment without settings of the server, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DENSITY_", "ORT_"))}
    return {**kept, **(more or {})}


class Program:
    """A program that runs until the end of a `with`, and whose output a failure shows."""

    def __init__(self, arguments, **options):
        self.output = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115 closed with the process
        self.process = subprocess.Popen(arguments, stdout=self.output, stderr=subprocess.STDOUT, **options)

    def log(self):
        return Path(self.output.name).read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close()

    def wait_for(self, condition, seconds, what):
        def found():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log()}")
            return condition()

        return wait_until(found, seconds, lambda: f"{what}\n{self.log()}")


class Server(Program):
    """density-server on `address`, which is known once it takes work; unless told, it takes a free port."""

    def __init__(self, *arguments, command=(str(BINARY),), environment=None, address="127.0.0.1:0", **options):
        self.started = time.monotonic()
        super().__init__(
            [*command, "serve", "--http", address, "--grpc", "off", *arguments],
            env=clean_environment(environment),
            **{"cwd": ROOT, **options},
        )
        try:
            self.address = self.wait_for(self._listening, START_SECONDS, "the server listens")
            self.wait_for(lambda: request(self.address, "GET", "/readyz").status == 200, START_SECONDS, "it is ready")
        except BaseException:
            self.__exit__()
            raise
        self.start_seconds = time.monotonic() - self.started

    def _listening(self):
        found = re.search(r"listening on http://(127\.0\.0\.1:\d+)", self.log())
        return found and found[1]


class Proxy(Program):
    """A program with a file of docker/gateway as its configuration, in which `names` become what they map to.

    `listening` is what the file says of the port, with a port of 8080.
    """

    def __init__(self, file, listening, names, command):
        self.folder = tempfile.TemporaryDirectory()
        self.prefix = Path(self.folder.name)
        self.address = f"127.0.0.1:{free_port()}"
        configuration = (DOCKER / "gateway" / file).read_text()
        here = listening.replace(":8080", "8080").replace("8080", self.address)
        for there, own in {**names, listening: here}.items():
            assert configuration.count(there) == 1, there
            configuration = configuration.replace(there, own)
        (self.prefix / file).write_text(configuration)
        super().__init__(command(self.prefix))
        host, port = self.address.split(":")
        self.wait_for(lambda: not socket.create_connection((host, int(port))).close(), 10, "it listens")

    def __exit__(self, *_):
        super().__exit__()
        self.folder.cleanup()


class Nginx(Proxy):
    """nginx with its modules."""

    def __init__(self, file, names):
        def command(prefix):
            for script in (DOCKER / "gateway").glob("*.js"):
                (prefix / script.name).write_text(script.read_text())
            (prefix / "modules").symlink_to(NGINX_MODULES)
            here = f"daemon off; pid {prefix}/nginx.pid; error_log stderr warn;"
            return ["nginx", "-p", str(prefix), "-c", file, "-e", "stderr", "-g", here]

        super().__init__(file, "listen 8080", names, command)


class HAProxy(Proxy):
    """HAProxy in the foreground."""

    def __init__(self, file, names):
        super().__init__(file, "bind :8080", names, lambda prefix: ["haproxy", "-db", "-f", str(prefix / file)])


def main():
    """Runs the tests of the calling file."""
    unittest.main(verbosity=2)
