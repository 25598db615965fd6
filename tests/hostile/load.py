"""How many answers come in time when more is asked for than can be answered, and how soon refusals do."""

import asyncio
import itertools
import multiprocessing
import os
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Self

from attacks import MODEL, png, request
from server import TICKS, Address, Server

# Images in an array: enough that the server's work and not that of this client is measured.
IMAGES = 4

# Columns and rows of a photograph, which takes far longer to decode than to judge.
SIDE = 4096

# Seconds between two clients that come for the first time.
NEWCOMERS = 0.025


def arrays(timeout: float) -> bytes:
    """A request for the scores of an npy array of grey images."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({IMAGES}, 28, 28), }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes([7]) * (IMAGES * 28 * 28)
    return staying(request(f"{MODEL}/score?timeout={timeout}", "application/x-npy", body))


def photographs(timeout: float) -> bytes:
    """A request for the score of a large picture, made small."""
    return staying(request(f"{MODEL}/score?resize=true&timeout={timeout}", "image/png", png(SIDE, SIDE)))


def staying(whole: bytes) -> bytes:
    """A request on a connection that stays."""
    return whole.replace(b"Connection: close\r\n", b"")


class Client:
    """One connection, opened when it is needed."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, bytes_: bytes) -> int:
        """The status of the answer, 0 if there was none."""
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(*self.address)
            reader, writer = self.streams
            writer.write(bytes_)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            for line in lines:
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line[15:]))
            if b"connection: close" in lines:
                self.close()
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0

    def close(self) -> None:
        """Ends the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


@dataclass
class Outcome:
    """What became of the requests of a load."""

    good: int
    refused: int
    asked: int
    seconds: float


class Counts:
    """What became of requests so far."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.asked = 0

    async def ask(self, client: Client, bytes_: bytes) -> int:
        """Asks and counts; the status of the answer."""
        self.asked += 1
        status = await client.ask(bytes_)
        self.statuses[status] += 1
        return status


async def counted(seconds: float, run: Callable[[Counts], Awaitable[None]]) -> Outcome:
    """Runs a load for a time and counts what was answered in it."""
    counts = Counts()
    start = time.monotonic()
    task = asyncio.create_task(run(counts))
    await asyncio.wait([task], timeout=seconds)
    outcome = Outcome(counts.statuses[200], counts.statuses[429], counts.asked, time.monotonic() - start)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return outcome


async def closed(address: Address, bytes_: bytes, clients: int, seconds: float, pause: float) -> Outcome:
    """Clients that ask again when they have their answer; after a refusal, when `pause` is over."""

    async def one(counts: Counts) -> None:
        client = Client(address)
        while True:
            if await counts.ask(client, bytes_) != 200:
                await asyncio.sleep(pause)

    async def run(counts: Counts) -> None:
        await asyncio.gather(*(one(counts) for _ in range(clients)))

    return await counted(seconds, run)


async def opened(address: Address, bytes_: bytes, rate: float, seconds: float) -> Outcome:
    """Requests that come at their own rate, whatever became of the others."""
    idle: list[Client] = []

    async def one(counts: Counts) -> None:
        client = idle.pop() if idle else Client(address)
        await counts.ask(client, bytes_)
        idle.append(client)

    async def run(counts: Counts) -> None:
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                await asyncio.sleep(start + number / rate - time.monotonic())
                tasks.create_task(one(counts))

    return await counted(seconds, run)


@dataclass
class Usage:
    """Processor time by whom it was used, in seconds of one processor."""

    server: float
    others: float
    idle: float

    @classmethod
    def now(cls, server: Server) -> Self:
        """Since the start of the machine."""
        # user nice system idle iowait irq softirq steal: the time of guests is among that of users.
        line = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        times = [int(field) / TICKS for field in line]
        idle = times[3] + times[4]
        own = server.seconds()
        return cls(own, sum(times) - idle - own, idle)

    def since(self, before: Self) -> Self:
        """What was used since then."""
        return Usage(self.server - before.server, self.others - before.others, self.idle - before.idle)

    @property
    def left(self) -> float:
        """What others left to the server, used or not. The load is made on the same processors."""
        return self.server + self.idle


def _ask_as_a_newcomer(address: Address, bytes_: bytes, stop: Event, times: multiprocessing.SimpleQueue) -> None:
    if os.geteuid() == 0:
        # What is measured is how long the server takes, not how long this process waits beside the load.
        os.nice(-5)
    taken: list[float] = []
    good = 0

    async def ask() -> None:
        nonlocal good
        client = Client(address)
        start = time.monotonic()
        status = await client.ask(bytes_)
        if status == 429:
            taken.append(time.monotonic() - start)
        good += status == 200 and not stop.is_set()
        client.close()

    async def run() -> None:
        tasks = []
        while not stop.is_set():
            tasks.append(asyncio.create_task(ask()))
            await asyncio.sleep(NEWCOMERS)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    times.put((good, taken))


class Newcomers:
    """Asks all the while on new connections, from a process of its own, and notes how soon it is refused."""

    def __init__(self, address: Address, bytes_: bytes) -> None:
        self.stop = multiprocessing.Event()
        self.times: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
        arguments = (address, bytes_, self.stop, self.times)
        self.process = multiprocessing.Process(target=_ask_as_a_newcomer, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        """Begins."""
        self.process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Ends, whatever has happened."""
        self.stop.set()
        self.good, taken = self.times.get()
        self.taken = sorted(taken)
        self.process.join()

    def share(self, share: float) -> float | None:
        """The time within which such a share of the refusals came, if there were any."""
        return self.taken[min(len(self.taken) - 1, int(share * len(self.taken)))] if self.taken else None
