"""The real binary on free ports, over tiny models with random weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("DENSITY_SERVER", ROOT / "target/debug/density-server"))
sys.path.insert(0, str(ROOT / "proto/python"))

FIXTURES = ROOT / "tests/fixtures/repository"
#: Rows, columns and levels of the tiny models.
HEIGHT, WIDTH, LEVELS = 6, 5, 4
#: What lies between two levels in an image file, which has 256 of them.
STEP = 255 // (LEVELS - 1)


@dataclass(frozen=True)
class Server:
    """Where a server listens."""

    http: str
    grpc: str


@contextmanager
def serving(repository: Path, *flags: str) -> Iterator[Server]:
    """The binary over a repository, until the block ends."""
    ports = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    process = subprocess.Popen(
        [BINARY, "serve", *ports, "--log-format", "json", "--proof-records", "none", *flags],
        env={**os.environ, "DENSITY_REPOSITORY": str(repository)},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    try:
        for line in process.stderr:
            seen.append(line)
            entry = json.loads(line) if line.startswith("{") else {}
            if "address" in entry:
                # What comes after must not fill the pipe.
                drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
                yield Server(entry["address"], entry["grpc"])
                break
        else:
            pytest.fail(f"the server ended:\n{''.join(seen)}")
    finally:
        process.terminate()
        status = process.wait(60)
    assert drain.wait(60) == status == 0, status


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with serving(FIXTURES) as server:
        yield server


@pytest.fixture
def images() -> np.ndarray:
    """Three images of the tiny models, [N, C, H, W]."""
    return np.random.default_rng(7).integers(0, LEVELS, (3, 1, HEIGHT, WIDTH), dtype=np.uint8)
