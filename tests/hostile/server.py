"""The real binary under a limit of memory, and what can be seen of it from outside."""

import json
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

# The longest wait for the server to load its models.
PATIENCE = 120

# The addresses that the log tells.
NAMES = ("address", "probes", "grpc")

Address = tuple[str, int]


def address_of(text: str) -> Address:
    """Host and port of `HOST:PORT`."""
    host, port = text.rsplit(":", 1)
    return host, int(port)


class Server:
    """A running server; it is killed at the end."""

    def __init__(self, binary: Path, repository: Path, memory: int, *arguments: str) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        command = [str(binary), "serve", "--http", "127.0.0.1:0", "--probes", "127.0.0.1:0", "--log-format", "json"]
        command += ["--grpc", "127.0.0.1:0", "--repository", str(repository), "--proof-records", "none", *arguments]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,  # noqa: PLW1509 (nothing else runs yet)
        )
        self.log: list[str] = []
        self.addresses: dict[str, Address] = {}
        self.ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self.ready.wait(PATIENCE):
            raise RuntimeError("the server does not listen:\n" + "".join(self.log[-20:]))
        self.http, self.probes, self.grpc = (self.addresses[name] for name in NAMES)

    def _read(self) -> None:
        for line in self.process.stderr or ():
            if '"request"' not in line:
                self.log.append(line)
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            for name in NAMES:
                if name in fields:
                    self.addresses[name] = address_of(fields[name])
            if len(self.addresses) == len(NAMES):
                self.ready.set()

    def __enter__(self) -> Self:
        """Begins."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Ends, whatever has happened."""
        self.process.kill()
        self.process.wait()

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def memory(self) -> int:
        """Bytes that it holds now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def descriptors(self) -> int:
        """Descriptors that it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def forget_peak(self) -> None:
        """Begins a new measurement of `peak`."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Most bytes that it held since then."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) << 10 if found else 0

    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> int:
        """What an orchestrator does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def _probe(address: Address, stop: Event, times: multiprocessing.SimpleQueue) -> None:
    if os.geteuid() == 0:
        # What is measured is how long the server takes, not how long this process waits beside the attackers.
        os.nice(-5)
    taken: list[float] = []
    while not stop.is_set():
        start = time.monotonic()
        try:
            with socket.create_connection(address, timeout=20) as stream:
                stream.settimeout(20)
                stream.sendall(b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
                is_good = stream.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            is_good = False
        taken.append(time.monotonic() - start if is_good else 20.0)
        time.sleep(0.02)
    times.put(taken)


class Probes:
    """Asks `/livez` all the while, from a process of its own."""

    def __init__(self, address: Address) -> None:
        self.stop = multiprocessing.Event()
        self.times: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
        self.process = multiprocessing.Process(target=_probe, args=(address, self.stop, self.times), daemon=True)

    def __enter__(self) -> Self:
        """Begins."""
        self.process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Ends, whatever has happened."""
        self.stop.set()
        taken = sorted(self.times.get())
        self.process.join()
        self.count = len(taken)
        self.p99 = taken[min(len(taken) - 1, int(0.99 * len(taken)))]
