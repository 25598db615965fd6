"""What a client can do to a server with little effort. Every attack is bounded in count and in time."""

import gzip
import json
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from server import Address, Server

# Seconds after which an attacker gives up.
PATIENCE = 20

# Seconds that a flood goes on.
FLOOD_SECONDS = 5

MODEL = "/v1/models/fashion-mnist-pixelcnn"

Answers = Counter[str]
Attack = Callable[[Server], Answers]


def request(path: str, media_type: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST request, the last of its connection."""
    head = [f"POST {path} HTTP/1.1", "Host: t", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "Connection: close", *headers, "", ""]).encode() + body


def ask(address: Address, bytes_: bytes, patience: float = PATIENCE) -> str:
    """Sends a request; its status, or what became of it."""
    try:
        with socket.create_connection(address, timeout=patience) as stream:
            stream.settimeout(patience)
            stream.sendall(bytes_)
            start = stream.recv(12)
            while stream.recv(1 << 16):
                pass
    except TimeoutError:
        return "no answer"
    except OSError:
        return "cut"
    return start[9:12].decode() or "closed"


def together(address: Address, bytes_: bytes, count: int, patience: float = PATIENCE) -> Answers:
    """The same request from several connections at once."""
    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(lambda _: ask(address, bytes_, patience), range(count)))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(length: int) -> bytes:
    """So many zeros, compressed, without holding them."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    pieces = [packer.compress(block[: min(len(block), length - start)]) for start in range(0, length, len(block))]
    return b"".join([*pieces, packer.flush()])


def png(width: int, height: int, depth: int = 8, colour: int = 0, *extra: bytes) -> bytes:
    """A black image."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    size = height * (1 + width * channels * depth // 8)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", packed(size)) + chunk(b"IEND", b"")


def image(file: bytes, count: int, query: str = "") -> Attack:
    """The same image file from several connections."""
    bytes_ = request(f"{MODEL}/score?timeout=2{query}", "image/png", file)
    return lambda server: together(server.http, bytes_, count)


def wide(count: int) -> Attack:
    """16 kB that unpack to a row of 16 million pixels."""
    return image(png(1 << 24, 1), count, "&resize=true")


def deep(count: int) -> Attack:
    """130 kB that unpack to 128 MiB."""
    return image(png(4096, 4096, 16, 6), count, "&resize=true&convert=true")


def profile(count: int) -> Attack:
    """486 kB with a colour profile of 500 MB."""
    return image(png(28, 28, 8, 0, chunk(b"iCCP", b"p\0\0" + packed(500_000_000))), count)


def options(count: int) -> Attack:
    """A JSON object of 100,000 options."""
    body = json.dumps({f"o{number}": number for number in range(100_000)}).encode()
    bytes_ = request(f"{MODEL}/score?timeout=2", "application/json", body)
    return lambda server: together(server.http, bytes_, count)


def fields(count: int) -> Attack:
    """A form of 100,000 fields."""
    parts = (f'--x\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\n1\r\n'.encode() for n in range(100_000))
    bytes_ = request(f"{MODEL}/score?timeout=2", "multipart/form-data; boundary=x", b"".join([*parts, b"--x--\r\n"]))
    return lambda server: together(server.http, bytes_, count)


def empties(count: int) -> Attack:
    """10 million images that are none, in 30 MB of JSON."""
    body = b'{"images":[' + b",".join([b"{}"] * 10_000_000) + b"]}"
    bytes_ = request(f"{MODEL}/score?timeout=2", "application/json", body)
    return lambda server: together(server.http, bytes_, count)


def bomb(count: int) -> Attack:
    """A body of 200 kB whose Content-Encoding unpacks it to 200 MB."""
    body = gzip.compress(bytes(200_000_000))
    bytes_ = request(f"{MODEL}/score?timeout=2", "image/png", body, "Content-Encoding: gzip")
    return lambda server: together(server.http, bytes_, count)


def drawing(count: int) -> Attack:
    """Much more to draw than there is time for."""
    bytes_ = request(f"{MODEL}/sample?n=64&timeout=1", "application/json", b"{}")
    return lambda server: together(server.http, bytes_, count)


def oversized(count: int) -> Attack:
    """40 MB where 32 MiB are allowed, from clients that read the answer only when they have sent everything."""
    bytes_ = request(f"{MODEL}/score", "image/png", bytes(40_000_000))
    return lambda server: together(server.http, bytes_, count)


def until_closed(
    streams: list[socket.socket], seconds: float, pause: float, look: Callable[[socket.socket], bool]
) -> Answers:
    """Looks after connections again and again until the server has closed them all, or for so long.

    `look` says whether a connection is open; one that would wait is.
    """
    answers = Answers()
    end = time.monotonic() + seconds
    while streams and time.monotonic() < end:
        time.sleep(pause)
        for stream in list(streams):
            try:
                is_open = look(stream)
            except BlockingIOError:
                is_open = True
            except OSError:
                is_open = False
            if not is_open:
                answers["closed by the server"] += 1
                stream.close()
                streams.remove(stream)
    answers["still open"] += len(streams)
    for stream in streams:
        stream.close()
    return answers


def newcomer(address: Address) -> Answers:
    """What becomes of a client that asks for little, and within how many seconds."""
    start = time.monotonic()
    status = ask(address, b"GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    return Answers({"no answer" if status != "200" else f"newcomer in {time.monotonic() - start:.1f} s": 1})


def unfinished(count: int, length: int) -> Attack:
    """Bodies of which all but the end comes."""

    def run(server: Server) -> Answers:
        whole = request(f"{MODEL}/score", "image/png", bytes(length))
        streams, answers = [], Answers()
        for _ in range(count):
            try:
                stream = socket.create_connection(server.http, timeout=2)
                stream.sendall(whole[:-1])
                streams.append(stream)
            except OSError:
                answers["cut"] += 1
        answers += newcomer(server.http)
        for stream in streams:
            stream.settimeout(0.1)
            try:
                answers[stream.recv(12)[9:12].decode() or "closed"] += 1
            except TimeoutError:
                answers["held"] += 1
            except OSError:
                answers["cut"] += 1
            stream.close()
        return answers

    return run


def slow(count: int) -> Attack:
    """More connections than there are places, each with a body of which one byte has come."""
    return unfinished(count, 2)
