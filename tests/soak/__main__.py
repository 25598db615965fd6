"""A million mixed requests to the real binary: `make soak`. Memory and descriptors must not grow.

Every operation over `/v1` and `/v2`, with what clients get wrong among them: torn images, wrong sizes, unknown options,
models that there are not. Clients keep their connections and drop one now and then, some in the middle of a request.
The exit code is 1 if resident memory grew by more than 2 % after the first tenth, if a descriptor was lost, or if an
answer was not the expected one.
"""

import argparse
import asyncio
import json
import random
import struct
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/hostile"))

from load import Client  # noqa: E402
from server import Server  # noqa: E402

#: Address space of the server.
MEMORY = 6 << 30
#: How much more it may hold at the end than after the first tenth.
GROWTH = 0.02
#: One request in so many is broken off.
BROKEN_OFF = 200
#: Size and levels of the images of the tiny models.
HEIGHT, WIDTH, LEVELS = 6, 5, 4


@dataclass(frozen=True)
class Ask:
    """A request and the status that is right for it."""

    name: str
    bytes_: bytes
    status: int = 200


def http(path: str, kind: str, body: bytes, status: int = 200, accept: str = "*/*") -> Ask:
    """A POST on a connection that stays."""
    head = f"POST {path} HTTP/1.1\r\nHost: t\r\nAccept: {accept}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return Ask(f"{status} {path.partition('?')[0]}", f"{head}\r\n\r\n".encode() + body, status)


def npy(levels: bytes, count: int) -> bytes:
    """Grey images as an array."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {HEIGHT}, {WIDTH}), }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + levels


def png(levels: bytes) -> bytes:
    """A grey image file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    step = 255 // (LEVELS - 1)
    rows = b"".join(
        b"\0" + bytes(level * step for level in levels[row * WIDTH : (row + 1) * WIDTH]) for row in range(HEIGHT)
    )
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def asks(chance: random.Random) -> list[Ask]:
    """Requests of every kind."""
    levels = bytes(chance.randrange(LEVELS) for _ in range(2 * HEIGHT * WIDTH))
    one, several = levels[: HEIGHT * WIDTH], npy(levels, 2)
    v1, array, image = "/v1/models", "application/x-npy", "image/png"
    tensor = {"name": "image", "shape": [1, 1, HEIGHT, WIDTH], "datatype": "UINT8", "data": list(one)}
    v2 = json.dumps({"inputs": [tensor]}).encode()
    return [
        http(f"{v1}/tiny-pixelcnn/score", image, png(one)),
        http(f"{v1}/tiny-pixelcnn/score?map=true", array, several, accept="image/png"),
        http(f"{v1}/tiny-pixelrnn/score", array, several),
        http(f"{v1}/tiny-pixelcnn/detect", array, several),
        http(f"{v1}/tiny-pixelcnn/sample?n=2&seed=1", "application/json", b"{}"),
        http(f"{v1}/tiny-pixelcnn/complete?rows=3", image, png(one)),
        http(f"{v1}/tiny-pixelcnn/compress", image, png(one)),
        http(f"{v1}/tiny-conditional-pixelcnn/classify", array, several),
        http(f"{v1}/tiny-classifier/classify", array, several),
        http(f"{v1}/tiny-vae/encode", array, several),
        http(f"{v1}/tiny-autoencoder/reconstruct", array, several),
        http(f"{v1}/tiny-gan/sample", "application/json", b"{}"),
        http("/v2/models/tiny-pixelcnn/infer", "application/json", v2),
        http("/v2/models/tiny-classifier/infer", "application/json", v2),
        http(f"{v1}/tiny-pixelcnn/score", image, png(one)[:40], status=422),
        http(f"{v1}/tiny-pixelcnn/score", array, npy(levels, 2)[:-1], status=422),
        http(f"{v1}/tiny-gan/score", image, png(one), status=422),
        http(f"{v1}/tiny-pixelcnn/score?no=1", image, png(one), status=422),
        http(f"{v1}/model-{chance.randrange(10**6)}/score", image, png(one), status=404),
        http("/v2/models/tiny-pixelcnn/infer", "application/json", b'{"inputs": [', status=400),
    ]


async def client(server: Server, chance: random.Random, share: int, wrong: Counter[str]) -> None:
    """Asks its share of requests, one after another."""
    connection = Client(server.http)
    for number in range(share):
        # Making requests takes longer than some of them take the server.
        if number % 100 == 0:
            own = asks(chance)
        ask = chance.choice(own)
        if chance.randrange(BROKEN_OFF) == 0:
            connection.close()
            _, writer = await asyncio.open_connection(*server.http)
            writer.write(ask.bytes_[: chance.randrange(1, len(ask.bytes_))])
            await writer.drain()
            writer.close()
            continue
        status = await connection.ask(ask.bytes_)
        if status != ask.status:
            wrong[f"{ask.name} answered {status}"] += 1
    connection.close()


async def soak(server: Server, given: argparse.Namespace) -> int:
    """Tenth by tenth; what was held after each is told."""
    wrong: Counter[str] = Counter()
    chance = random.Random(given.seed)
    first, start = 0, time.monotonic()
    print(f"{'requests':>10} {'a second':>9} {'MiB':>7} {'descriptors':>12}")
    memory = descriptors = 0
    for tenth in range(1, 11):
        clients = [
            client(server, random.Random(chance.random()), given.requests // 10 // given.clients, wrong)
            for _ in range(given.clients)
        ]
        await asyncio.gather(*clients)
        # The server sees a little later than its clients that connections are closed.
        patience = time.monotonic() + 30
        while (descriptors := server.descriptors()) > given.descriptors and time.monotonic() < patience:
            await asyncio.sleep(0.2)
        memory = server.memory()
        asked = tenth * given.requests // 10
        rate = asked / (time.monotonic() - start)
        print(f"{asked:>10} {rate:>9.0f} {memory / 2**20:>7.1f} {descriptors:>12}", flush=True)
        first = first or memory
    growth = memory / first - 1
    print(f"memory grew by {100 * growth:.2f} % after the first tenth; {sum(wrong.values())} unexpected answers")
    for name, count in wrong.most_common(10):
        print(f"  {count} × {name}")
    return int(growth > GROWTH or descriptors > given.descriptors or bool(wrong))


def main() -> int:
    """Starts the server and asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/density-server")
    given = parser.parse_args()
    with Server(given.binary, ROOT / "tests/fixtures/repository", MEMORY) as server:
        given.descriptors = server.descriptors()
        failed = asyncio.run(soak(server, given))
        if server.stop() != 0:
            print("the server did not end as it should")
            return 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
