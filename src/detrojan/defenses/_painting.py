"""A generator that paints on images what moves the features that the clean task does not need (BTI-DBF)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.functional import constant
from detrojan.perturbations import limits
from detrojan.tracing import head_of, watched
from detrojan.tuning import Context, Objective, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """The network and the generator, and what is done with both."""

    network: nn.Module
    painter: nn.Module
    clean: Samples
    context: Context
    batch: int

    def seen(self, network: nn.Module, pixels: Tensor) -> tuple[Tensor, object]:
        """The features that the head takes in, and the outputs."""
        head = head_of(self.network)
        with watched([head], before=True) as found:
            outputs = self.context.forward(network, self.context.preprocessing(pixels))
        return found[head].float(), outputs

    def painted(self, pixels: Tensor) -> Tensor:
        """What the generator makes of pixels (B, C, H, W)."""
        low, high = limits(self.clean)
        with self.context.execution.running():
            painted: Tensor = self.painter(self.context.execution.send(pixels)).float()
        return painted.clamp(low, high)

    def pretrain(self, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        """The generator learns to give back its inputs, with the features that they have."""
        still = constant(self.network)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            del labels
            pixels = pixels_of(self.context.task.augment(inputs, generator))
            with torch.no_grad():
                wanted, _ = self.seen(still, pixels)
            painted = self.painted(pixels)
            given, _ = self.seen(still, painted)
            distance = F.mse_loss(painted, pixels)
            return F.mse_loss(given, wanted) + (100 if float(distance.detach()) > 0.1 else 1) * distance

        self.painter.train()
        return self._tune(objective, optimizer, steps, "BTI-DBF's generator")

    def decouple(self, steps: int, turn: str) -> Tensor:
        """A mask (D,) in (0, 1) on the features: the clean task needs those under it, and not the others."""
        head, still = head_of(self.network), constant(self.network)
        generator = self.context.seeds.generator(f"mask, {turn}", self.context.execution.device)
        raw = torch.randn(head.in_features, generator=generator, device=generator.device).requires_grad_()

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            with torch.no_grad():
                features, _ = self.seen(still, pixels_of(self.context.task.augment(inputs, generator)))
            mask = raw.tanh() / 2 + 0.5
            weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
            needed, spare = (F.cross_entropy(F.linear(features * m, weight, bias), labels) for m in (mask, 1 - mask))
            return needed - spare

        self._tune(objective, torch.optim.Adam([raw], 0.01), steps, f"BTI-DBF's mask, {turn}")
        return (raw.tanh() / 2 + 0.5).detach()

    def paint(
        self,
        optimizer: torch.optim.Optimizer,
        mask: Tensor,
        target: int | None,
        steps: int,
        bound: float,
        turn: str,
    ) -> list[float]:
        """The generator moves the spare features far and the needed ones little, within a distance of the pixels."""
        still = constant(self.network)

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels = pixels_of(self.context.task.augment(inputs, generator))
            with torch.no_grad():
                wanted, _ = self.seen(still, pixels)
            painted = self.painted(pixels)
            given, outputs = self.seen(still, painted)
            needed, spare = ((m * (given - wanted)).square().mean() for m in (mask, 1 - mask))
            distance = F.mse_loss(painted, pixels)
            beyond = float(distance.detach()) > bound or float(needed.detach()) > 3
            loss = distance if beyond else 0.01 * needed - spare
            if target is not None:
                loss = loss + F.cross_entropy(self.context.task.logits(outputs), torch.full_like(labels, target))
            return loss

        self.painter.train()
        return self._tune(objective, optimizer, steps, f"BTI-DBF paints, {turn}")

    @torch.no_grad()
    def suspected(self) -> int:
        """The class that painted samples most often get."""
        self.painter.eval()
        found = []
        for part in self.clean.inputs.split(self.batch):
            painted = self.painted(pixels_of(part.to(self.context.execution.device)))
            found.append(
                self.context.task.predict(self.context.forward(self.network, self.context.preprocessing(painted)))
            )
        return int(torch.cat(found).mode().values)

    def _tune(self, objective: Objective, optimizer: torch.optim.Optimizer, steps: int, stage: str) -> list[float]:
        return tune(objective, optimizer, self.clean, self.context, steps=steps, batch=self.batch, stage=stage)
