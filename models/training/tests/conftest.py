"""What all tests share: one thread, and the same random numbers in every run."""

import pytest
import torch


@pytest.fixture(autouse=True)
def deterministic() -> None:
    """Networks of the tests are so small that a second thread would only wait."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
