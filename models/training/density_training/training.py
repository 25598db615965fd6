"""A resumable training loop with a warm-up / stable / decay learning rate, and optimisers; nothing about any model."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

CHECKPOINT_EVERY = 250
"""Steps between checkpoints."""


@dataclass(frozen=True)
class Recipe:
    """How long to train, in which batches, from which seed, and how the learning rate moves.

    The learning-rate factor rises linearly, stays on a plateau, and falls linearly to zero over the last
    `decay_steps`. The plateau does not know where it ends, so `steps` may be changed when a run is resumed (Hägele et
    al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024).
    """

    steps: int
    decay_steps: int
    batch_size: int
    seed: int = 0
    warmup_steps: int = 200

    def learning_rate_factor(self, step: int) -> float:
        """The multiple of the peak learning rate to use for the given step, counted from 0."""
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        decay = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return min(warmup, decay)

    def as_arguments(self) -> str:
        """The command-line options that ask for this recipe."""
        return f"--steps {self.steps} --decay-steps {self.decay_steps} --batch {self.batch_size} --seed {self.seed}"


@dataclass
class Progress:
    """What a checkpoint remembers besides weights and optimiser state."""

    step: int = 0
    seconds: float = 0.0


def train(
    model: nn.Module,
    loss: Callable[[Tensor, int], Tensor],
    optimisers: list[torch.optim.Optimizer],
    examples: Tensor,
    recipe: Recipe,
    checkpoint: Path,
    at_epoch_end: Callable[[int], None] = lambda epoch: None,
) -> Progress:
    """Minimise `loss(batch, step)` until `recipe.steps`; resumes from `checkpoint` if it exists.

    A batch is a selection of `examples` along axis 0: of images, or of indices where an example has several parts.

    SIGTERM and SIGINT end the run after the current step, with a checkpoint. Under `torchrun`, each process takes its
    share of every batch. Two processes of one thread keep two cores busier than one process of two threads when other
    programs want the same cores: they wait for each other once a step instead of once an operation.
    """
    with _workers() as workers, _termination_noted() as terminated:
        progress = resume(model, optimisers, checkpoint)
        torch.manual_seed((recipe.seed * 1_000_003 + progress.step) * workers.count + workers.rank)
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        for group in groups:
            group.setdefault("peak_lr", group["lr"])
        epoch_steps = len(examples) // recipe.batch_size
        started, average = time.monotonic() - progress.seconds, math.nan
        bar = tqdm(
            total=recipe.steps,
            initial=progress.step,
            unit="step",
            mininterval=5,
            dynamic_ncols=True,
            disable=workers.rank > 0,
        )
        for batch in _batches(examples, recipe.batch_size, recipe.seed, progress.step):
            if progress.step >= recipe.steps or workers.any(bool(terminated)):
                break
            for group in groups:
                group["lr"] = group["peak_lr"] * recipe.learning_rate_factor(progress.step)
            value = loss(batch[workers.rank :: workers.count], progress.step)
            value.backward()
            workers.average_gradients(model)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            progress.step += 1
            progress.seconds = time.monotonic() - started
            average = value.item() if math.isnan(average) else 0.99 * average + 0.01 * value.item()
            bar.update()
            images_per_second = (bar.format_dict["rate"] or 0) * recipe.batch_size
            bar.set_postfix(loss=f"{average:.4f}", images_per_second=f"{images_per_second:.0f}", refresh=False)
            if progress.step % CHECKPOINT_EVERY == 0 and workers.rank == 0:
                save(model, optimisers, recipe, progress, checkpoint)
            if progress.step % epoch_steps == 0 and workers.rank == 0:
                at_epoch_end(progress.step // epoch_steps)
        bar.close()
        if workers.rank == 0:
            save(model, optimisers, recipe, progress, checkpoint)
        return progress


def save(
    model: nn.Module, optimisers: list[torch.optim.Optimizer], recipe: Recipe, progress: Progress, path: Path
) -> None:
    """Write a checkpoint so that a reader never sees half of one; a model knows its sizes as `config`."""
    config: Any = model.config
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "config": asdict(config),
            "model": model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "recipe": asdict(recipe),
            "progress": asdict(progress),
        },
        partial,
    )
    partial.replace(path)


def resume(model: nn.Module, optimisers: list[torch.optim.Optimizer], path: Path) -> Progress:
    """Load a checkpoint into `model` and `optimisers`, or start at step 0 if there is none."""
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimiser, optimiser_state in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(optimiser_state)
    return Progress(**state["progress"])


def _batches(examples: Tensor, size: int, seed: int, start: int) -> Iterator[Tensor]:
    """Batches from step `start` on; the order of an epoch depends on seed and epoch only, so a run can resume."""
    epoch_steps = len(examples) // size
    epoch, offset = divmod(start, epoch_steps)
    while True:
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for step in range(offset, epoch_steps):
            yield examples[order[step * size : (step + 1) * size]]
        epoch, offset = epoch + 1, 0


def adamw(
    network: nn.Module, rate: float = 2e-3, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """AdamW for all weights (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019)."""
    return [torch.optim.AdamW(network.parameters(), lr=rate, betas=betas, weight_decay=weight_decay)]


def muon(network: nn.Module, matrices: Sequence[Tensor], rate: float = 1.0) -> list[torch.optim.Optimizer]:
    """Muon for the given hidden matrices, AdamW for the other weights; `rate` multiplies both learning rates.

    Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) orthogonalises the updates of
    matrices, which takes far fewer steps than AdamW.
    """
    chosen = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=0.02 * rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=3e-3 * rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


@dataclass(frozen=True)
class _Workers:
    """The processes that share each batch; there is one unless `torchrun` started more."""

    rank: int = 0
    count: int = 1

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, the same answer in all."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag))
        distributed.all_reduce(votes)
        return votes.item() > 0

    def average_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        mean = torch.cat([gradient.flatten() for gradient in gradients]) / self.count
        distributed.all_reduce(mean)
        for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def _workers() -> Iterator[_Workers]:
    if not distributed.is_torchelastic_launched():
        yield _Workers()
        return
    distributed.init_process_group("gloo")
    try:
        yield _Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


@contextmanager
def _termination_noted() -> Iterator[list[int]]:
    """A list that becomes non-empty once SIGTERM or SIGINT has arrived; the previous handlers return afterwards."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda signum, _: received.append(signum))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
