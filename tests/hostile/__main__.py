"""Attacks the real binary under a limit of memory and counts answers, bytes and seconds: `make hostile`.

Everything happens on 127.0.0.1 and ends within some seven minutes. The exit code is 1 if an answer or an amount of
memory is not as it must be. Times depend on what else the machine does, and on what making the load takes: those that
are not reached are told, and count with --strict.
"""

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import attacks
import calls
import encrypted
import frames
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

# Floods of what holds nothing add no more.
FLOOD_MEMORY = 64 * MIB

# Processor time beyond the deadline of a request.
LATE_SECONDS = 0.5

# The slowest hundredth of the answers of /livez.
LIVEZ_SECONDS = 0.1

# Threads that run models.
WORKERS = 2

# Goodput beside capacity, under any load.
GOODPUT = 0.97

# The slowest hundredth of the refusals of clients that come for the first time.
REFUSAL_SECONDS = 0.005

# What overload may add to the memory of the server: connections and requests that wait.
OVERLOAD_MEMORY = 64 * MIB


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
        Row("20 × 256 unread documents", frames.unread(20, 256, "/openapi.json"), TOTAL_MEMORY, None),
        Row("20 × 256 unread pages", frames.unread(20, 256, "/docs/swagger-ui-bundle.js"), TOTAL_MEMORY, None),
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
        Row("4,200 slow bodies", attacks.slow(4200), TOTAL_MEMORY, None),
        Row("4,096 that answer pings", frames.pinging(4096, 20), TOTAL_MEMORY, None),
        Row("64 unfinished bodies of 31 MB", attacks.unfinished(64, 31_000_000), TOTAL_MEMORY, None),
        Row(
            "64 slow readers of HTTP/2",
            frames.slow_readers(64, "/docs/swagger-ui-bundle.js", 10_000, 30),
            MIB << 6,
            None,
        ),
        Row("requests taken back, 100 at once", frames.resets(8, 100, 0), FLOOD_MEMORY, None),
        Row("requests taken back, 2 each ms", frames.resets(8, 2, 1e-3), FLOOD_MEMORY, None),
        Row("heads of HTTP/2 without an end", frames.continuations(8), FLOOD_MEMORY, None),
        Row("settings of HTTP/2", frames.settings(8), FLOOD_MEMORY, None),
        Row("pings of HTTP/2", frames.pings(8), FLOOD_MEMORY, None),
        Row("pieces without a byte", frames.empty_pieces(8), FLOOD_MEMORY, None),
        Row("gRPC: 31 MB in gzip, once", calls.packed_messages(1, 1), REQUEST_MEMORY, None),
        Row("gRPC: 31 MB in gzip, 200 at once", calls.packed_messages(4, 50), TOTAL_MEMORY, None),
        Row("gRPC: 96 that trickle at 31 MB", calls.trickling_messages(4, 24), TOTAL_MEMORY, None),
    ]


def encrypted_rows() -> list[Row]:
    """Attacks on TLS."""
    return [
        Row("TLS: 4,200 that say nothing", encrypted.handshakes(4200, 0, 15), TOTAL_MEMORY, None),
        Row("TLS: 4,200 slow hellos", encrypted.handshakes(4200, 0.5, 15), TOTAL_MEMORY, None),
        Row("TLS: 4,200 half handshakes", encrypted.handshakes(4200, 1, 15), TOTAL_MEMORY, None),
        Row("TLS: handshakes for nothing", encrypted.hands(16), FLOOD_MEMORY, None),
        Row("TLS: renegotiation", encrypted.renegotiation, FLOOD_MEMORY, None),
    ]


def certificate(folder: Path) -> list[str]:
    """Flags for TLS with a certificate that is made here."""
    key, own = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", own], check=True, capture_output=True)
    return ["--tls-certificate", str(own), "--tls-key", str(key)]


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
    verdict.hold(answers["went on"] == 0, f"{row.name}: hands were shaken again")
    verdict.hold(answers["still open"] == 0, f"{row.name}: {answers['still open']} were never closed")


def overload(server: Server, verdict: Verdict, what: str, body: Callable[[float], bytes]) -> None:
    """Compares what is answered in time under overload with what can be answered at all.

    The load is made on the same processors, and other programs may run there too. What they take is not the server's
    loss, so goodput is counted by the second of processor time that they left to it: what it used, and what nobody did.
    A server that spends its time on refusals, or that refuses and idles, loses by this measure.
    """
    http = server.http
    patient = body(60)
    asyncio.run(load.closed(http, patient, 4, 2, 0.1))
    before = load.Usage.now(server)
    found = asyncio.run(load.closed(http, patient, 8, 6, 0.1))
    used = load.Usage.now(server).since(before)
    rate, capacity, work = found.good / found.seconds, found.good / used.left, used.server / found.good
    # Twenty times what one request takes, and no less than a second.
    timeout = max(1.0, 20 * WORKERS / rate)
    share = f"{used.server / found.seconds:.2f}, {used.others / found.seconds:.2f}"
    tell((f"{what}: capacity", f"deadline {timeout:.1f} s", f"{rate:.1f}", share, "1", "", "", ""))
    seconds, hasty = 8 * timeout, body(timeout)
    for load_name, run in [
        ("open loop, 1.5 ×", lambda: load.opened(http, hasty, 1.5 * rate, seconds)),
        ("open loop, 10 ×", lambda: load.opened(http, hasty, 10 * rate, seconds)),
        ("1,000 impatient retriers", lambda: load.closed(http, hasty, 1000, seconds, 0.001)),
    ]:
        name = f"{what}: {load_name}"
        memory = server.memory()
        server.forget_peak()
        before = load.Usage.now(server)
        with load.Newcomers(http, hasty) as newcomers:
            found = asyncio.run(run())
            used = load.Usage.now(server).since(before)
        added = server.peak() - memory
        good, refused = found.good + newcomers.good, found.refused + len(newcomers.taken)
        goodput = good / used.left / capacity
        refusal = (used.server - work * good) / max(1, refused)
        half, most = newcomers.share(0.5), newcomers.share(0.99)
        times = "–" if most is None else f"{1e3 * half:.1f}, {1e3 * most:.1f}"
        share = f"{used.server / found.seconds:.2f}, {used.others / found.seconds:.2f}"
        cells = (f"{good}, {refused} of {found.asked}", f"{good / found.seconds:.1f}", share, f"{goodput:.2f}")
        tell((name, *cells, f"{1e6 * refusal:.0f}", times, f"{added / MIB:.0f}"))
        verdict.hold_time(goodput >= GOODPUT, f"{name}: goodput is {goodput:.2f} of capacity")
        verdict.hold_time((most or 0) <= REFUSAL_SECONDS, f"{name}: a hundredth of the refusals took {most} s")
        verdict.hold(added <= OVERLOAD_MEMORY, f"{name}: {added / MIB:.0f} MiB were added")


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
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as secrets:
        name = attacks.MODEL.rsplit("/", 1)[1]
        shutil.copytree(ROOT / "models/repository" / name, Path(folder) / name)
        settings = ["--workers", str(WORKERS), "--keep-alive-timeout", "8", "--body-timeout", "10"]
        settings += ["--unread-timeout", "5"]
        with Server(arguments.binary, Path(folder), MEMORY, *settings) as server:
            tell(("attack", "answers", "MiB added", "seconds", "late seconds", "livez p99, ms"))
            tell(("---",) * 6)
            for row in rows():
                if arguments.only in row.name:
                    attack(server, row, verdict)
            chosen = [row for row in encrypted_rows() if arguments.only in row.name]
            if chosen:
                with Server(arguments.binary, Path(folder), MEMORY, *settings, *certificate(Path(secrets))) as other:
                    for row in chosen:
                        attack(other, row, verdict)
            print(flush=True)
            columns = ("load", "in time, refused, asked", "a second", "cores: server, others", "goodput ÷ capacity")
            columns += ("µs a refusal", "refusal p50, p99 ms", "MiB added")
            tell(columns)
            tell(("---",) * len(columns))
            for what, body in [("arrays", load.arrays), ("photographs", load.photographs)]:
                if server.is_alive() and arguments.only in f"overload {what}":
                    overload(server, verdict, what, body)
            verdict.hold(server.is_alive() and server.stop() == 0, "the server did not end as it should")
    for failure in verdict.failures + verdict.slow:
        print(f"not reached: {failure}", file=sys.stderr)
    return int(bool(verdict.failures or (arguments.strict and verdict.slow)))


if __name__ == "__main__":
    sys.exit(main())
