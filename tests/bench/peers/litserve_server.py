"""LitServe with dynamic batches."""

from __future__ import annotations

import base64
import os

import litserve
import numpy as np

from model import Model, levels


class Api(litserve.LitAPI):
    """One model a worker; requests that wait are put together."""

    def setup(self, _device: str) -> None:
        """Loads the session."""
        self.model = Model(os.environ["PEER_OPERATION"], int(os.environ["PEER_THREADS"]))

    def decode_request(self, request: dict) -> np.ndarray:
        """The levels of an image file."""
        return levels(base64.b64decode(request["image"]))

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Levels as one array."""
        return np.stack(inputs)

    def predict(self, batch: np.ndarray) -> list:
        """An answer an image."""
        return self.model.run(batch)

    def unbatch(self, output: list) -> list:
        """The answers apart."""
        return output

    def encode_response(self, output: object) -> dict:
        """As JSON."""
        return {"result": output}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.0, api_path="/")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
