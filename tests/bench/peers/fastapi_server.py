"""FastAPI on uvicorn, a session in each worker. Sessions run on FastAPI's pool of threads, images one by one."""

from __future__ import annotations

import os

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from model import Model, levels

OPERATION, THREADS = os.environ["PEER_OPERATION"], int(os.environ["PEER_THREADS"])
model = Model(OPERATION, THREADS)
app = FastAPI()


@app.post("/")
async def infer(request: Request) -> dict:
    """The answer about one image file."""
    body = await request.body()
    given = levels(body)[None] if body else np.zeros((1, 1, 28, 28), np.uint8)
    return {"result": (await run_in_threadpool(model.run, given))[0]}


@app.get("/ready")
def ready() -> Response:
    """Answers once the session is there."""
    return Response()
