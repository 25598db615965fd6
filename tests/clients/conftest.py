"""The real binary on free ports, over tiny models with random weights."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from grpc_tools import protoc

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
    process: subprocess.Popen


@contextmanager
def serving(repository: Path, *flags: str) -> Iterator[Server]:
    """The binary over a repository, until the block ends."""
    ports = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    records = [] if "--proof-records" in flags else ["--proof-records", "none"]
    process = subprocess.Popen(
        [BINARY, "serve", *ports, "--log-format", "json", *records, *flags],
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
                yield Server(entry["address"], entry["grpc"], process)
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


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, ModuleType]]:
    """Messages and stubs of `proto/density_v1.proto`."""
    folder = str(tmp_path_factory.mktemp("generated"))
    arguments = [f"--proto_path={ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", *arguments, str(ROOT / "proto/density_v1.proto")]) == 0
    sys.path.insert(0, folder)
    yield importlib.import_module("density_v1_pb2"), importlib.import_module("density_v1_pb2_grpc")
    sys.path.remove(folder)


@pytest.fixture
def images() -> np.ndarray:
    """Three images of the tiny models, [N, C, H, W]."""
    return np.random.default_rng(7).integers(0, LEVELS, (3, 1, HEIGHT, WIDTH), dtype=np.uint8)
