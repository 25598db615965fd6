"""The real binary on free ports, for tests of its clients and of its pages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("DENSITY_SERVER", ROOT / "target/debug/density-server"))


@dataclass(frozen=True)
class Server:
    """Where a server listens: addresses are host:port."""

    http: str
    grpc: str
    process: subprocess.Popen


@contextmanager
def serving(repository: Path, *flags: str) -> Iterator[Server]:
    """The binary over a repository, until the block ends; it must then end well."""
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
            raise RuntimeError(f"the server ended:\n{''.join(seen)}")
    finally:
        process.terminate()
        status = process.wait(60)
    assert drain.wait(60) == status == 0, status
