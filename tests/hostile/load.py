"""How many answers come in time when more is asked for than can be answered."""

import asyncio
import struct
import time
from dataclasses import dataclass

from attacks import MODEL, request
from server import Address

# Images in one request: enough that the server's work and not that of this client is measured.
IMAGES = 4


def images() -> bytes:
    """An npy array of grey images."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({IMAGES}, 28, 28), }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes([7]) * (IMAGES * 28 * 28)


def body(timeout: float) -> bytes:
    """A request for scores, on a connection that stays."""
    whole = request(f"{MODEL}/score?timeout={timeout}", "application/x-npy", images())
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
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line[15:]))
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
class Goodput:
    """Answers in time, and in which time."""

    good: int
    asked: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.good / self.seconds


async def closed(address: Address, clients: int, seconds: float, timeout: float, pause: float) -> Goodput:
    """Clients that ask again when they have their answer; after a refusal, when `pause` is over."""
    bytes_ = body(timeout)
    end = time.monotonic() + seconds
    good = asked = 0

    async def run() -> None:
        nonlocal good, asked
        client = Client(address)
        while time.monotonic() < end:
            asked += 1
            if await client.ask(bytes_) == 200:
                good += time.monotonic() < end
            else:
                await asyncio.sleep(pause)
        client.close()

    await asyncio.gather(*(run() for _ in range(clients)))
    return Goodput(good, asked, seconds)


async def opened(address: Address, rate: float, seconds: float, timeout: float) -> Goodput:
    """Requests that come at their own rate, whatever became of the others."""
    bytes_ = body(timeout)
    idle: list[Client] = []
    good = 0

    async def run() -> None:
        nonlocal good
        client = idle.pop() if idle else Client(address)
        status = await client.ask(bytes_)
        good += status == 200
        idle.append(client)

    start = time.monotonic()
    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(start + number / rate - time.monotonic())
        tasks.append(asyncio.create_task(run()))
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return Goodput(good, len(tasks), max(time.monotonic() - start, seconds))
