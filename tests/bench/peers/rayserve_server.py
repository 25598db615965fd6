"""Ray Serve with batches, a replica a worker."""

from __future__ import annotations

import os
import threading

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from model import Model, levels


@serve.deployment(
    num_replicas=int(os.environ["PEER_WORKERS"]), max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5}
)
class Peer:
    """Sessions a replica; requests that wait are put together."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0)
    async def infer(self, asked: list[tuple[str, bytes]]) -> list:
        """Answers about image files. One operation is asked for at a time."""
        return self.model.run(asked[0][0], np.stack([levels(file) for _, file in asked]))

    async def __call__(self, request: Request) -> dict:
        """The answer about one image file."""
        return {"result": await self.infer((request.url.path.strip("/"), await request.body()))}


if __name__ == "__main__":
    ray.init(log_to_driver=False, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Peer.bind(), route_prefix="/")
    threading.Event().wait()
