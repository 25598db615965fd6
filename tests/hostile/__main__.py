"""Attacks the real binary under a limit of memory and counts answers, bytes and seconds: `make hostile`.

Everything happens on 127.0.0.1 and ends within some three minutes. The exit code is 1 if an answer or an amount of
memory is not as it must be. Times depend on what else the machine does, and on what making the load takes: those that
are not reached are told, and count with --strict.
"""

import argparse
import asyncio
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import attacks
import load
from attacks import Attack
from server import Probes, Server

ROOT = Path(__file__).resolve().parents[2]

# Address space of the server. Today's runtime maps some 2 GiB before the first request.
MEMORY = 6 << 30

MIB = 1 << 20

# One request of at most 32 MiB adds no more.
REQUEST_MEMORY = 256 * MIB

# All requests together: what the server grants them, and what the allocator keeps.
TOTAL_MEMORY = 1024 * MIB

# Processor time beyond the deadline of a request.
LATE_SECONDS = 0.5

# The slowest hundredth of the answers of /livez.
LIVEZ_SECONDS = 0.1

# Threads that run models.
WORKERS = 2

# Seconds after which the measurement of goodput is given up.
OVERLOAD_TIME = 90

# Goodput beside capacity. The load is made on the same processors, which costs some of it at ten times the capacity.
GOODPUT = 0.9


@dataclass
class Row:
    """An attack, and what it may cost."""

    name: str
    attack: Attack
    memory: int
    # Deadline of its requests; what is computed after it is late.
    deadline: float | None = 2.0


def rows() -> list[Row]:
    """Each attack once alone, to see what one request costs, and then from several connections."""
    return [
        # Those that may hold most come last: what the allocator keeps of one would hide the next.
        Row("20 × 256 unread documents", attacks.unread(20, 256, "/openapi.json"), TOTAL_MEMORY, None),
        Row("20 × 256 unread pages", attacks.unread(20, 256, "/docs/swagger-ui-bundle.js"), TOTAL_MEMORY, None),
        Row("16,777,216×1 PNG, once", attacks.wide(1), REQUEST_MEMORY),
        Row("16,777,216×1 PNG, 8 at once", attacks.wide(8), TOTAL_MEMORY),
        Row("100,000 options, once", attacks.options(1), REQUEST_MEMORY),
        Row("100,000 options, 8 at once", attacks.options(8), TOTAL_MEMORY),
        Row("100,000 fields, once", attacks.fields(1), REQUEST_MEMORY),
        Row("100,000 fields, 8 at once", attacks.fields(8), TOTAL_MEMORY),
        Row("500 MB profile, once", attacks.profile(1), REQUEST_MEMORY),
        Row("500 MB profile, 64 at once", attacks.profile(64), TOTAL_MEMORY),
        Row("10 million empty images, once", attacks.empties(1), REQUEST_MEMORY),
        Row("10 million empty images, 4 at once", attacks.empties(4), TOTAL_MEMORY),
        Row("4096² RGBA16, once", attacks.deep(1), REQUEST_MEMORY),
        Row("4096² RGBA16, 16 at once", attacks.deep(16), TOTAL_MEMORY),
        Row("200 MB in gzip, once", attacks.bomb(1), REQUEST_MEMORY),
        Row("200 MB in gzip, 16 at once", attacks.bomb(16), TOTAL_MEMORY),
        Row("64 samples in one second", attacks.drawing(1), REQUEST_MEMORY, 1.0),
        Row("40 MB uploads, 8 at once", attacks.oversized(8), REQUEST_MEMORY, None),
        Row("1,100 slow bodies", attacks.slow(1100), TOTAL_MEMORY, None),
        Row("1,024 that answer pings", attacks.pinging(1024, 20), TOTAL_MEMORY, None),
        Row("64 unfinished bodies of 31 MB", attacks.unfinished(64, 31_000_000), TOTAL_MEMORY, None),
    ]


def tell(cells: tuple[object, ...]) -> None:
    """A row of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


class Verdict:
    """Figures that were not reached."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.slow: list[str] = []

    def hold(self, is_so: bool, what: str) -> None:
        """Notes a figure that is not as it must be."""
        if not is_so:
            self.failures.append(what)

    def hold_time(self, is_so: bool, what: str) -> None:
        """Notes a time that is longer than wanted."""
        if not is_so:
            self.slow.append(what)


def attack(server: Server, row: Row, verdict: Verdict) -> None:
    """Runs one attack and tells what it cost."""
    before = server.memory()
    server.forget_peak()
    with Probes(server.probes) as probes:
        start = time.monotonic()
        answers = row.attack(server)
        taken = time.monotonic() - start
        late = None
        if row.deadline is not None:
            time.sleep(max(0.0, row.deadline - taken))
            used = server.seconds()
            time.sleep(1.0)
            late = server.seconds() - used
    added = server.peak() - before
    counted = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
    seconds = "–" if late is None else f"{late:.2f}"
    tell((row.name, counted, f"{added / MIB:.0f}", f"{taken:.1f}", seconds, f"{1000 * probes.p99:.0f}"))
    verdict.hold(server.is_alive(), f"{row.name}: the server is gone")
    verdict.hold(added <= row.memory, f"{row.name}: {added / MIB:.0f} MiB were added")
    verdict.hold_time((late or 0) <= LATE_SECONDS, f"{row.name}: {late} s were computed after the deadline")
    verdict.hold_time(probes.p99 <= LIVEZ_SECONDS, f"{row.name}: /livez took {probes.p99:.3f} s")
    verdict.hold(answers["no answer"] == 0, f"{row.name}: {answers['no answer']} got no answer")
    if row.name.startswith("40 MB"):
        verdict.hold(answers["413"] == answers.total(), f"{row.name}: not all were told why: {counted}")
    verdict.hold(answers["still open"] == 0, f"{row.name}: {answers['still open']} were never closed")


async def overload(server: Server, verdict: Verdict) -> None:
    """Compares what is answered in time under overload with what can be answered at all."""
    await load.closed(server.http, 4, 2, 10, 0.1)
    capacity = (await load.closed(server.http, 8, 6, 10, 0.1)).rate
    # Twenty times what one request takes, and no less than a second.
    timeout = max(1.0, 20 * WORKERS / capacity)
    tell(("capacity", f"{capacity:.1f} a second", f"deadline {timeout:.1f} s", ""))
    seconds = 8 * timeout
    for name, run in [
        ("open loop, 1.5 ×", load.opened(server.http, 1.5 * capacity, seconds, timeout)),
        ("open loop, 10 ×", load.opened(server.http, 10 * capacity, seconds, timeout)),
        ("1,000 impatient retriers", load.closed(server.http, 1000, seconds, timeout, 0.001)),
    ]:
        found = await run
        ratio = found.rate / capacity
        tell((name, f"{found.good} of {found.asked}", f"{found.rate:.1f} a second", f"{ratio:.2f}"))
        verdict.hold_time(ratio >= GOODPUT, f"{name}: goodput is {ratio:.2f} of capacity")


def main() -> int:
    """Attacks, tells and judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/density-server")
    parser.add_argument("--strict", action="store_true", help="times count, too")
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder:
        name = attacks.MODEL.rsplit("/", 1)[1]
        shutil.copytree(ROOT / "models/repository" / name, Path(folder) / name)
        settings = ["--workers", str(WORKERS), "--keep-alive-timeout", "8", "--body-timeout", "10"]
        with Server(arguments.binary, Path(folder), MEMORY, *settings) as server:
            tell(("attack", "answers", "MiB added", "seconds", "late seconds", "livez p99, ms"))
            tell(("---",) * 6)
            for row in rows():
                if arguments.only in row.name:
                    attack(server, row, verdict)
            print(flush=True)
            tell(("load", "answered in time", "goodput", "of capacity"))
            tell(("---",) * 4)
            if server.is_alive() and arguments.only in "overload":
                try:
                    asyncio.run(asyncio.wait_for(overload(server, verdict), OVERLOAD_TIME))
                except TimeoutError:
                    verdict.hold_time(False, f"goodput: not measured within {OVERLOAD_TIME} s")
            verdict.hold(server.is_alive() and server.stop() == 0, "the server did not end as it should")
    for failure in verdict.failures + verdict.slow:
        print(f"not reached: {failure}", file=sys.stderr)
    return int(bool(verdict.failures or (arguments.strict and verdict.slow)))


if __name__ == "__main__":
    sys.exit(main())
