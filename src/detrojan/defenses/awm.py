"""AWM, adversarial weight masking: a mask on every single weight of the convolutions, against one perturbation for all.

Needs: labelled clean samples.
Serves: networks with convolutions.
Source: Chai and Chen, "One-shot Neural Backdoor Erasing via Adversarial Weight Masking" (NeurIPS 2022) and its code,
which takes no step at all where there are fewer samples than in a batch. Samples are cropped and flipped here, as for
every defense; the code does so only to make a hundred of ten (with other settings: clean_share .99, bound 100).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.augmentation import pixels_of
from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.functional import Replaced, constant
from detrojan.perturbations import limits, universal
from detrojan.sites import CONVOLUTIONS
from detrojan.tuning import Context, Tuned, tune
from detrojan.weight_tuning import plain_weight, shared_out, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class AWM:
    """Rounds of finding a perturbation and of tuning the masks, in eval mode; the masks keep in [0, 1].

    Args:
        rounds: how often a new perturbation is found.
        steps: of the masks (Adam), over all rounds.
        inner_steps: of finding a perturbation (SGD), each round.
        inner_rate: its learning rate, for pixels from 0 to 1; other inputs may want another.
        batch: examples a step, drawn with replacement.
        learning_rate: of Adam, in the first round.
        decay: times which it falls from round to round.
        clean_share: the weight of the unperturbed loss; the perturbed one has the rest.
        bound: the largest sum of the perturbation's absolute values, over all pixels and channels.
        sparsity: the weight of the masks' sum.
    """

    rounds: int = 20
    steps: int = 300
    inner_steps: int = 15
    inner_rate: float = 10.0
    batch: int = 128
    learning_rate: float = 0.01
    decay: float = 0.9
    clean_share: float = 0.9
    bound: float = 1000.0
    sparsity: float = 1e-8

    def __call__(self, model: nn.Module, clean: Samples, context: Context) -> Tuned:
        """Purify a copy of the model.

        Raises:
            Unsupported: the network has no convolution.
            Diverged: the loss became NaN or infinite.
        """
        context.need_numbers("awm", clean)
        context.need_whole_weights("awm")
        network = tunable(model, context).eval()
        weights = {
            f"{name}.weight": module.weight.detach()
            for name, module in network.named_modules()
            if isinstance(module, CONVOLUTIONS) and plain_weight(module)
        }
        if not weights:
            raise Unsupported("awm masks plain weights of convolutions, and there are none; use channel masks of nft")
        masks = {name: torch.ones_like(weight, requires_grad=True) for name, weight in weights.items()}
        optimizer = torch.optim.Adam(masks.values(), self.learning_rate)
        losses, clip, fixed = list[float](), limits(clean), constant(network).tensors

        def masked() -> Replaced:
            return Replaced(network, {**fixed, **{name: weights[name] * mask for name, mask in masks.items()}})

        def objective(inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            pixels, network = pixels_of(context.task.augment(inputs, generator)), masked()
            calm, shifted = (
                context.task.loss(context.forward(network, context.preprocessing(each)), labels).mean()
                for each in (pixels, (pixels + shift).clamp(*clip))
            )
            size = torch.stack([mask.sum() for mask in masks.values()]).sum()
            return self.clean_share * calm + (1 - self.clean_share) * shifted + self.sparsity * size

        @torch.no_grad()
        def clamp() -> None:
            for mask in masks.values():
                mask.clamp_(0, 1)

        for turn, steps in enumerate(shared_out(self.steps, self.rounds)):
            with torch.no_grad():
                frozen = Replaced(network, dict(masked().tensors))
            shift = universal(
                frozen,
                clean,
                context,
                steps=self.inner_steps,
                batch=self.batch,
                learning_rate=self.inner_rate,
                stage=f"AWM perturbs, round {turn + 1}",
            )
            shift *= (self.bound / shift.abs().sum().clamp_min(1e-12)).clamp(max=1.0)
            losses += tune(
                objective,
                optimizer,
                clean,
                context,
                steps=steps,
                batch=self.batch,
                stage=f"AWM masks, round {turn + 1}",
                learning_rate=lambda _, turn=turn: self.learning_rate * self.decay**turn,  # type: ignore[misc]
                project=clamp,
            )
        with torch.no_grad():
            for name, mask in masks.items():
                network.get_parameter(name).mul_(mask)
        found = {name.removesuffix(".weight"): mask.detach().flatten().cpu() for name, mask in masks.items()}
        return Tuned(model=network, masks=found, losses=tuple(losses))


METHOD = AWM
