"""BTI-DBF with path-aware minimisation: a generator paints what moves the features that the clean task does not need.

Needs: labelled clean samples.
Serves: networks over images whose class scores come from one linear layer.
Source: Xu et al., "Towards Reliable and Efficient Backdoor Trigger Inversion via Decoupling Benign Features" (ICLR
2024); gradients at weights nearer to the victim's by Min et al., "Uncovering, Explaining, and Mitigating the
Superficial Safety of Backdoor Defense" (NeurIPS 2024). Unlike that paper's code this keeps the term of the features
while it unlearns, and steps with a momentum of 0.9 and weight decay (there 0.1, none, and many more steps). The mask
lies on the features that the last linear layer takes in, the codes' on the maps before they are pooled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.defenses._painting import Painting
from detrojan.functional import Replaced, named_weights, stepped
from detrojan.models.unet import UNet
from detrojan.tracing import head_of
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import sgd, tunable


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
        context.need_pictures("bti_dbf", clean)
        context.need_one_class("bti_dbf")
        context.need_one_process("bti_dbf", "looks inside the network")
        network = tunable(model, context).eval()
        head_of(network)
        with context.seeds.seeded("generator of BTI-DBF"):
            painter = context.execution.place(UNet(clean.inputs.shape[1], self.width))
        optimizer = torch.optim.Adam(painter.parameters(), 1e-3)
        victim = {name: weight.detach().clone() for name, weight in named_weights(network).items()}
        work = Painting(network=network, painter=painter, clean=clean, context=context, batch=self.batch)
        losses = work.pretrain(optimizer, self.pretraining_steps)
        target: int | None = None
        for turn in range(self.rounds):
            mask = work.decouple(self.mask_steps, f"round {turn + 1}")
            losses += work.paint(optimizer, mask, target, self.generator_steps, self.distance, f"round {turn + 1}")
            target = work.suspected() if target is None else target
            losses += self._unlearn(work, victim, f"round {turn + 1}")
        return Tuned(model=network, masks={}, losses=tuple(losses), notes={"suspected class": int(target or 0)})

    def _unlearn(self, work: Painting, victim: dict[str, Tensor], turn: str) -> list[float]:
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


METHOD = BTIDBF
