"""What every peer runs: the committed graphs in ONNX Runtime, as one would write it around a server for Python."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

REPOSITORY = Path(os.environ["DENSITY_REPOSITORY"])
THREADS = int(os.environ.get("PEER_THREADS", "1"))
#: Pixels that `sample` draws. The graph as given takes a full pass for each of 784, which all cost the same, so some
#: of them tell what all would take.
PIXELS = int(os.environ.get("PEER_PIXELS", "784"))


class Model:
    """Scores and draws by a PixelCNN, and encodes by a VAE."""

    def __init__(self, threads: int = THREADS) -> None:
        self.pixelcnn = session("fashion-mnist-pixelcnn/1/model.onnx", threads)
        self.encoder = session("fashion-mnist-vae/1/encoder.onnx", threads)
        self.random = np.random.default_rng()

    def run(self, operation: str, levels: np.ndarray) -> list:
        """An operation by its name, on levels [N, 1, H, W]."""
        return {"score": self.score, "encode": self.encode, "sample": self.sample}[operation](levels)

    def score(self, levels: np.ndarray) -> list[float]:
        """Log-likelihoods in nats of levels [N, 1, H, W]."""
        (logits,) = self.pixelcnn.run(["logits"], {"image": scaled(levels)})
        top = logits.max(axis=1, keepdims=True)
        normal = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        given = np.take_along_axis(logits, levels.astype(np.int64), axis=1)
        return (given - normal).sum(axis=(1, 2, 3), dtype=np.float64).tolist()

    def encode(self, levels: np.ndarray) -> list[list[float]]:
        """Posterior means of levels [N, 1, H, W]."""
        (mean,) = self.encoder.run(["mean"], {"image": scaled(levels)})
        return mean.tolist()

    def sample(self, levels: np.ndarray) -> list:
        """New images [N, 1, H, W], one full pass a pixel; of those given only the shape counts."""
        drawn = np.zeros_like(levels)
        for row, column in list(np.ndindex(*drawn.shape[2:]))[:PIXELS]:
            (logits,) = self.pixelcnn.run(["logits"], {"image": scaled(drawn)})
            # The largest of logits and Gumbel noise is a draw from their softmax.
            noise = self.random.gumbel(size=logits.shape[:2])
            drawn[:, 0, row, column] = (logits[:, :, row, column] + noise).argmax(axis=1)
        return drawn.tolist()


def session(file: str, threads: int) -> onnxruntime.InferenceSession:
    """A session that does not spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(REPOSITORY / file, options, ["CPUExecutionProvider"])


def scaled(levels: np.ndarray) -> np.ndarray:
    """Levels as the graphs take them."""
    return levels.astype(np.float32) / np.float32(255)


def levels(file: bytes) -> np.ndarray:
    """Levels [1, H, W] of an image file; without one those of a black image."""
    return np.asarray(Image.open(io.BytesIO(file)))[None] if file else np.zeros((1, 28, 28), np.uint8)
