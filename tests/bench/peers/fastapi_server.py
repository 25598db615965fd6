"""FastAPI on uvicorn, sessions in each worker. They run on FastAPI's pool of threads, images one by one."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from model import Model, levels

model = Model()
app = FastAPI()


@app.post("/{operation}")
async def infer(operation: str, request: Request) -> dict:
    """The answer about one image file."""
    body = await request.body()
    return {"result": (await run_in_threadpool(model.run, operation, levels(body)[None]))[0]}


@app.get("/ready")
def ready() -> Response:
    """Answers once the sessions are there."""
    return Response()
