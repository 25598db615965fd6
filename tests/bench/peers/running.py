"""A server while it runs: when it was ready, and what memory it holds. Ends what it started and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

#: Longer than any of them takes to start.
START_SECONDS = 120.0


class NotReadyError(Exception):
    """A server that did not start; the message is the end of what it said."""


@contextlib.contextmanager
def running(command: list[str], env: dict[str, str], folder: Path, url: str) -> Iterator[tuple[int, float]]:
    """The process of a server once `url` is answered, and the seconds that this took."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(url):
                if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                    log.seek(0)
                    raise NotReadyError(log.read()[-600:].decode(errors="replace"))
                time.sleep(0.05)
            yield process.pid, time.monotonic() - started
        finally:
            end(process)


def end(process: subprocess.Popen) -> None:
    """Ends a server with all its descendants, some of which lead sessions of their own."""
    family = descendants(process.pid)
    for signal_number, patience in [(signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)]:
        for own in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(own, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up and any(is_alive(own) for own in family):
            time.sleep(0.05)
    process.wait()


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    return False


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200
    return False


def descendants(server: int) -> list[int]:
    """A process and what it started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(") ", 1)[1].split()[1])
    family = [server]
    for own in family:
        family.extend(child for child, parent in parents.items() if parent == own)
    return family


def memory(server: int) -> int:
    """Bytes that a server and its descendants hold; what several share is counted once."""
    total = 0
    for process in descendants(server):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024
