"""The gate of docker/gateway in a real nginx, between clients, the real server and a vision service that remembers."""

import http.server
import socket
import threading
import unittest

from support import IMAGES, Nginx, Server, free_port, main, post_image, request


class Vision(http.server.ThreadingHTTPServer):
    """The service behind the gate. `seen` is what reached it: path, verdict of the gate, body."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Remember)
        self.seen = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_port}"


class Remember(http.server.BaseHTTPRequestHandler):
    """Answers every request with what it is taken for."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, self.headers["x-gate"], body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a shoe")

    def log_message(self, *_):
        pass


class Gate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        self.vision = Vision()
        self.addCleanup(self.vision.server_close)
        self.addCleanup(self.vision.shutdown)

    def gateway(self, failure, density=None):
        names = {
            "density-server:8000": density or self.server.address,
            "vision:9000": self.vision.address,
            "$gate_failure closed": f"$gate_failure {failure}",
        }
        gateway = Nginx("nginx.conf", names)
        self.addCleanup(gateway.__exit__)
        return gateway.address

    def test_what_the_detector_accepts_reaches_the_service_unchanged(self):
        answer = post_image(self.gateway("closed"), "/what/is/it?top=1", "shoe.png")
        self.assertEqual((answer.status, answer.body), (200, b"a shoe"))
        shoe = (IMAGES / "shoe.png").read_bytes()
        self.assertEqual(self.vision.seen, [("/what/is/it?top=1", "accept", shoe)])

    def test_what_the_detector_rejects_does_not_reach_it_however_the_gate_fails(self):
        for failure in ["open", "closed"]:
            answer = post_image(self.gateway(failure), "/", "noise.png")
            self.assertEqual(answer.status, 403)
            self.assertEqual(answer.json()["status"], 403)
        self.assertEqual(self.vision.seen, [])

    def test_one_bad_image_spoils_a_batch(self):
        parts = [(IMAGES / name).read_bytes() for name in ["shoe.png", "noise.png"]]
        head = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        self.assertEqual(request(self.gateway("open"), "POST", "/", body, headers).status, 403)
        self.assertEqual(self.vision.seen, [])

    def test_what_cannot_be_judged_does_not_go_round_the_gate(self):
        headers = {"content-type": "image/png"}
        for failure in ["open", "closed"]:
            answer = request(self.gateway(failure), "POST", "/", b"no image", headers)
            self.assertEqual(answer.status, 422, answer.body)
            self.assertIn("detail", answer.json())
        self.assertEqual(self.vision.seen, [])

    def test_a_large_body_is_judged_and_passed_on_whole(self):
        # Comments of a PNM file make it large without making its image so.
        pixels = bytes(28 * 28)
        body = b"P5\n" + b"# nothing to see here\n" * 100_000 + b"28 28\n255\n" + pixels
        answer = request(self.gateway("closed"), "POST", "/", body, {"content-type": "image/x-portable-graymap"})
        # A black image is one or the other; it reaches the service whole or not at all.
        self.assertIn(answer.status, [200, 403], answer.body)
        self.assertEqual([seen[2] for seen in self.vision.seen], [body] * (answer.status == 200))

    def test_a_gate_that_is_down_fails_as_it_was_told_to(self):
        nobody = f"127.0.0.1:{free_port()}"
        self.assert_fails_as_told(nobody)

    def test_a_gate_that_does_not_answer_fails_as_it_was_told_to(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.assert_fails_as_told(f"127.0.0.1:{silent.getsockname()[1]}")

    def assert_fails_as_told(self, density):
        closed = post_image(self.gateway("closed", density), "/", "shoe.png")
        self.assertEqual(closed.status, 503)
        self.assertEqual(self.vision.seen, [])
        opened = post_image(self.gateway("open", density), "/", "shoe.png")
        self.assertEqual(opened.status, 200)
        self.assertEqual([(path, verdict) for path, verdict, _ in self.vision.seen], [("/", "unjudged")])


if __name__ == "__main__":
    main()
