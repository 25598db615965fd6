"""Training for a stated time: the learning rate falls to zero when the time is over, however fast the machine was.

References
- Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992): the weights that are kept are an
  exponential moving average.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")

WARMUP_STEPS = 100
AVERAGE = 0.999
"""Share of the moving average that is kept at each step."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where trainings run that a GPU makes faster."""
CHECKPOINT_SECONDS = 240 if DEVICE.type == "cpu" else 30


@dataclass(frozen=True)
class TimedRecipe:
    """How long to train, and when the learning rate begins to fall: shares are of the whole time."""

    minutes: float
    batch_size: int
    constant_share: float = 0.3
    seed: int = 0

    def learning_rate_factor(self, step: int, share: float) -> float:
        """Rises during the first steps; then 1, and at last falling in a line to 0."""
        return min(1.0, step / WARMUP_STEPS, (1 - share) / (1 - self.constant_share))


@dataclass
class TimedProgress:
    """What a checkpoint remembers besides weights; `seconds` are of the clock, `processor_seconds` of this process."""

    step: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    kept_step: int = 0
    """The step whose averaged weights are kept."""
    kept_loss: float = math.inf
    """The smallest loss that was measured of averaged weights."""
    device: str = ""
    """The name of the GPU, if there was one."""

    def where(self) -> str:
        """On what it was trained, and for how long, for a card."""
        minutes = f"{self.seconds / 60:.0f} minutes of wall time"
        if self.device:
            return f"{minutes} on one {self.device}"
        return (
            f"{minutes} on one core of a shared CPU (AMX with bfloat16), of which it had "
            f"{self.processor_seconds / 60:.0f} minutes"
        )


@dataclass(frozen=True)
class Measured:
    """What a checkpoint's averaged weights come to."""

    report: str
    """For the log."""
    loss: float | None = None
    """By which one average is better than another, if that is asked."""


def train(
    network: nn.Module,
    loss: Callable[[Batch], Tensor],
    batch: Callable[[float], Batch],
    optimisers: list[torch.optim.Optimizer],
    recipe: TimedRecipe,
    checkpoint: Path,
    monitor: Callable[[nn.Module], Measured],
    largest_gradient: float | None = None,
) -> TimedProgress:
    """Minimise `loss(batch(share of the time that is over))`; goes on from `checkpoint` if it exists.

    The checkpoint holds the weights, their moving average, and as `model` what is kept: the last average, or the one of
    a checkpoint of which `monitor` measured the smallest loss. With `largest_gradient`, a longer gradient of all
    weights is shortened to it, and one that is no number is left out.
    """
    device = next(network.parameters()).device
    progress = TimedProgress(device=torch.cuda.get_device_name(device) if device.type == "cuda" else "")
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    kept = average
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        network.load_state_dict(state["last"])
        kept, average = state["model"], state.get("average", state["model"])
        progress = TimedProgress(**state["progress"])
        for optimiser, optimiser_state in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(optimiser_state)
    torch.manual_seed(recipe.seed * 1_000_003 + progress.step)
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    for group in groups:
        group.setdefault("peak_lr", group["lr"])
    weights = dict(network.named_parameters())
    averaged = [average[name] for name in weights]
    started, processor = time.monotonic() - progress.seconds, time.process_time() - progress.processor_seconds
    saved = time.monotonic()
    while (share := progress.seconds / (60 * recipe.minutes)) < 1:
        for group in groups:
            group["lr"] = group["peak_lr"] * recipe.learning_rate_factor(progress.step, share)
        loss(batch(share)).backward()
        is_usable = True
        if largest_gradient is not None:
            is_usable = bool(nn.utils.clip_grad_norm_(network.parameters(), largest_gradient).isfinite())
        for optimiser in optimisers:
            if is_usable:
                optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        progress.step += 1
        share_kept = min(AVERAGE, progress.step / (progress.step + WARMUP_STEPS))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, list(weights.values()), 1 - share_kept)
        progress.seconds = time.monotonic() - started
        progress.processor_seconds = time.process_time() - processor
        is_over = progress.seconds >= 60 * recipe.minutes
        if is_over or time.monotonic() - saved > CHECKPOINT_SECONDS:
            measured = _averaged(network, average, monitor)
            if measured.loss is None or measured.loss < progress.kept_loss:
                kept = {name: value.clone() for name, value in average.items()}
                progress.kept_step = progress.step
                progress.kept_loss = math.inf if measured.loss is None else measured.loss
            _save(network, average, kept, optimisers, recipe, progress, checkpoint)
            saved = time.monotonic()
            print(f"step {progress.step:,}: {measured.report}", flush=True)
    return progress


def shuffled(count: int) -> Iterator[int]:
    """Numbers below `count` without end, each once before any comes again."""
    return itertools.chain.from_iterable(torch.randperm(count).tolist() for _ in itertools.count())


def _averaged(network: nn.Module, average: dict[str, Tensor], monitor: Callable[[nn.Module], Measured]) -> Measured:
    last = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average)
    with torch.no_grad():
        report = monitor(network)
    network.load_state_dict(last)
    return report


def _save(
    network: nn.Module,
    average: dict[str, Tensor],
    kept: dict[str, Tensor],
    optimisers: list[torch.optim.Optimizer],
    recipe: TimedRecipe,
    progress: TimedProgress,
    path: Path,
) -> None:
    config: Any = network.config
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "config": asdict(config),
            "model": kept,
            "average": average,
            "last": network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "recipe": asdict(recipe),
            "progress": asdict(progress),
        },
        partial,
    )
    partial.replace(path)
