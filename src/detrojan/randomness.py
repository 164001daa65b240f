"""One seed, many named generators: adding a draw in one place never shifts the draws of another.

Nothing else in the package seeds or uses a global generator, except inside `seeded`, which gives it back as it was.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """The source of all randomness of a run; `seed` is any non-negative integer."""

    seed: int = 0

    def number(self, name: str) -> int:
        """A 63-bit number that depends on the seed and the name alone."""
        digest = sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh torch generator; the same seed and name give the same draws on the same kind of device."""
        return torch.Generator(device=device).manual_seed(self.number(name))

    def numpy(self, name: str) -> np.random.Generator:
        """A fresh NumPy generator."""
        return np.random.default_rng(self.number(name))

    @contextmanager
    def seeded(self, name: str) -> Iterator[None]:
        """Seed the global generators for code that takes none (dropout, library transforms); restore them after."""
        state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        number = self.number(name)
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            random.seed(number)
            np.random.seed(number % 2**32)  # noqa: NPY002 - library code draws from it
            torch.manual_seed(number)
            try:
                yield
            finally:
                random.setstate(state)
                np.random.set_state(numpy_state)  # noqa: NPY002
