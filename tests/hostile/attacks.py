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
        end = time.monotonic() + seconds
        while streams and time.monotonic() < end:
            for stream in list(streams):
                try:
                    got = stream.recv(4096)
                    # A frame of pings, which comes alone, is acknowledged.
                    if len(got) >= 17 and got[-14] == 6 and got[-13] == 0:
                        stream.send(frame(6, 1, 0, got[-8:]))
                    is_open = bool(got)
                except BlockingIOError:
                    is_open = True
                except OSError:
                    is_open = False
                if not is_open:
                    answers["closed by the server"] += 1
                    stream.close()
                    streams.remove(stream)
            time.sleep(0.2)
        answers["still open"] += len(streams)
        for stream in streams:
            stream.close()
        return answers

    return run
