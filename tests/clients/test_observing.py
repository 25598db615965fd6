"""What operators see of clients: metrics that made-up names cannot fill."""

from __future__ import annotations

import http.client
import urllib.request

import grpc
from conftest import Server

#: As many as a hostile client may think of in a minute.
NAMES = 10_000


def series(server: Server) -> set[str]:
    """The metrics, without their values."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")}


def test_names_that_clients_make_up_never_become_labels(server: Server) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=60)
    with grpc.insecure_channel(server.grpc) as channel:

        def ask(number: int) -> None:
            paths = [f"/v1/models/made-up-{number}", f"/v2/models/made-up-{number}:score", f"/made-up-{number}"]
            path = paths[number % 3]
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 404, path

        def call(number: int) -> grpc.StatusCode:
            return channel.unary_unary(f"/made.up.Service{number}/Call").future(b"", timeout=60).code()

        for number in range(3):
            ask(number)
        assert call(0) == grpc.StatusCode.UNIMPLEMENTED
        series(server)
        before = series(server)
        for number in range(NAMES):
            ask(number)
            if number % 10 == 0:
                call(number)
        assert series(server) == before
    connection.close()
    assert any("density_build_info" in own for own in before)
