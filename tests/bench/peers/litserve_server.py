"""LitServe with dynamic batches."""

from __future__ import annotations

import base64
import os

import litserve
import numpy as np

from model import Model, levels


class Api(litserve.LitAPI):
    """Sessions a worker; requests that wait are put together."""

    def setup(self, _device: str) -> None:
        """Loads the sessions."""
        self.model = Model()

    def decode_request(self, request: dict) -> tuple[str, np.ndarray]:
        """The operation, and the levels of an image file."""
        return request["operation"], levels(base64.b64decode(request["image"]))

    def batch(self, inputs: list) -> list:
        """Requests together."""
        return inputs

    def predict(self, batch: list) -> list:
        """An answer an image. One operation is asked for at a time."""
        return self.model.run(batch[0][0], np.stack([own for _, own in batch]))

    def unbatch(self, output: list) -> list:
        """The answers apart."""
        return output

    def encode_response(self, output: object) -> dict:
        """As JSON."""
        return {"result": output}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.0, api_path="/")
    workers = int(os.environ["PEER_WORKERS"])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, timeout=300)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
