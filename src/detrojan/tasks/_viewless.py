"""What a task says that makes no strong views of its inputs, or does not join them."""

import torch
from torch import Tensor

from detrojan.errors import Unsupported


class Viewless:
    """By default there are no strong views, and nothing is joined."""

    __slots__ = ()

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A strong view of each stored input (B, ...), and what was put into each.

        Raises:
            Unsupported: always.
        """
        del generator, signs
        raise Unsupported(f"there are no strong views of {tuple(inputs.shape)}")

    def join(self, first: Tensor, second: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two stored inputs in one, for each of (B, ...), and the share (B,) of the first.

        Raises:
            Unsupported: always.
        """
        del second, generator
        raise Unsupported(f"nothing joins {tuple(first.shape)}")
