"""BTI-DBF with path-aware minimisation: a generator paints what moves the features that the clean task does not need.

Needs: labelled clean samples.
Serves: networks over images whose class scores come from one linear layer.
Source: Xu et al., "Towards Reliable and Efficient Backdoor Trigger Inversion via Decoupling Benign Features" (ICLR
2024); gradients at weights nearer to the victim's by Min et al., "Uncovering, Explaining, and Mitigating the
Superficial Safety of Backdoor Defense" (NeurIPS 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.functional import Replaced, constant, named_weights, stepped
from detrojan.models.unet import UNet
from detrojan.perturbations import limits
from detrojan.tracing import head_of, watched
from detrojan.tuning import Context, Objective, Tuned, sgd, tunable, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class BTIDBF:
    """Rounds of decoupling features, of training the generator, and of unlearning what it paints.

    Args:
        rounds: of all three.
        pretraining_steps: in which the generator learns to give back what it gets.
        mask_steps: of the mask that tells the clean task's features from the others (Adam), each round.
        generator_steps: of the generator (Adam), each round.
        unlearning_steps: of the network (SGD with momentum 0.9), each round.
        batch: examples a step, drawn with replacement.
        learning_rate: of SGD.
        distance: the largest mean squared change of the pixels that the generator may make.
        painted: the share of a batch that the generator changes while the network unlearns.
        radius: how far towards the victim's weights the gradients are taken; 0 takes them where the weights are.
        width: of the generator.
    """

    rounds: int = 3
    pretraining_steps: int = 150
    mask_steps: int = 60
    generator_steps: int = 90
    unlearning_steps: int = 90
    batch: int = 128
    learning_rate: float = 0.01
    distance: float = 0.3
    painted: float = 0.2
    radius: float = 0.5
    width: int = 16

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: not one linear layer makes the class scores.
            Diverged: the loss became NaN or infinite.
        """
        context.need_one_process("bti_dbf", "looks inside the network")
        network = tunable(model, context).eval()
        head_of(network)
        with context.seeds.seeded("generator of BTI-DBF"):
            painter = context.execution.place(UNet(clean.inputs.shape[1], self.width))
        optimizer = torch.optim.Adam(painter.parameters(), 1e-3)
        victim = {name: weight.detach().clone() for name, weight in named_weights(network).items()}
        work = _Work(network=network, painter=painter, clean=clean, context=context, batch=self.batch)
        losses = work.pretrain(optimizer, self.pretraining_steps)
        target: int | None = None
        for turn in range(self.rounds):
            mask = work.decouple(self.mask_steps, f"round {turn + 1}")
            losses += work.paint(optimizer, mask, target, self.generator_steps, self.distance, f"round {turn + 1}")
            target = work.suspected() if target is None else target
            losses += self._unlearn(work, victim, f"round {turn + 1}")
        return Tuned(model=network, masks={}, losses=tuple(losses), notes={"suspected class": int(target or 0)})

    def _unlearn(self, work: "_Work", victim: dict[str, Tensor], turn: str) -> list[float]:
        """Some inputs painted, all with their true labels; the features should not feel the paint."""
        weights, context = named_weights(work.network), work.context
        work.painter.eval()

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels = pixels_of(context.task.augment(inputs, generator))
            count = max(1, round(self.painted * len(pixels)))
            with torch.no_grad():
                mixed = torch.cat([work.painted(pixels[:count]), pixels[count:]])
            back = [victim[name] - weight.detach() for name, weight in weights.items()]
            nearer = Replaced(work.network, stepped(weights, back, self.radius))
            clean_features, _ = work.seen(nearer, pixels)
            features, outputs = work.seen(nearer, mixed)
            return context.task.loss(outputs, labels).mean() + F.mse_loss(features, clean_features)

        work.network.train()
        losses = tune(
            objective,
            sgd(work.network, self.learning_rate, momentum=0.9, weight_decay=5e-4),
            work.clean,
            context,
            steps=self.unlearning_steps,
            batch=self.batch,
            stage=f"BTI-DBF unlearns, {turn}",
        )
        work.network.eval()
        return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
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


METHOD = BTIDBF
