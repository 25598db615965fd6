"""The real binary on free ports, over tiny models with random weights."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "proto/python"), str(ROOT / "tests")]

from serving import Server, serving  # noqa: E402 (its folder is no package)

FIXTURES = ROOT / "tests/fixtures/repository"
#: Rows, columns and levels of the tiny models.
HEIGHT, WIDTH, LEVELS = 6, 5, 4
#: What lies between two levels in an image file, which has 256 of them.
STEP = 255 // (LEVELS - 1)


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
