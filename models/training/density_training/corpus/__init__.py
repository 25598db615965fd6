"""The corpus of the command `import`: small networks as other people write and export them.

Weights are random. Of the same few networks there are many exports: both exporters, old operators, fixed batches, other
orders of axes, other units, other precisions, outputs that nobody needs.
"""

from collections.abc import Iterator

import torch

from density_training.corpus import (
    baked,
    beside,
    classifiers,
    deceptive,
    densities,
    generators,
    masked,
    neighbours,
    of_one_image,
    of_one_item,
    of_rows,
    outputs,
    published,
    published_more,
    readings,
    sequences,
    vae_cases,
)
from density_training.corpus.case import Case

MAKERS = (
    densities.densities,
    densities.other_densities,
    vae_cases.pairs,
    generators.generators,
    classifiers.classifiers,
    vae_cases.wholes,
    vae_cases.parts,
    published.first,
    published.second,
    published_more.cases,
    deceptive.cases,
    classifiers.of_batches,
    outputs.cases,
    readings.cases,
    sequences.cases,
    beside.cases,
    of_one_image.cases,
    classifiers.of_photographs,
    masked.cases,
    vae_cases.drawn,
    classifiers.backbones,
    neighbours.cases,
    baked.cases,
    of_one_item.cases,
    of_rows.cases,
)


def cases() -> Iterator[Case]:
    """All of them; random weights from a fixed seed for each maker."""
    for seed, maker in enumerate(MAKERS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield from maker()
