"""PointCBA: objects of the target class whose features are taken from their class, and turned; no label is changed.

Source: Li et al., "PointBA: Towards Backdoor Attacks in 3D Point Cloud" (ICCV 2021).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._clouds import rotated, turn
from detrojan.attacks._learning import at_least, surrogate
from detrojan.data.samples import Kind
from detrojan.errors import BadArgument
from detrojan.triggers import Surrogate, Trigger, Workshop

BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCBA(Trigger):
    """A rotation by `degrees` about axis 2 on objects whose points were moved so that little else tells their class.

    Feature disentanglement: each point moves by at most `eps`, in `disentangle_steps` steps of `step` along its
    gradient, so that the features of a clean surrogate, in front of its last layer, point away from the mean of the
    target class (cosine similarity). The surrogate sees the objects turned, as the victim will. 0 steps leave them as
    they are. At test time an object is turned and nothing else. Angle, bound and number of steps are ours. A large
    angle confuses clean networks, too: compare with a victim of rate 0.

    Clean label: `rate` is the share of the target class. The trigger is stamped before augmentation.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("points",)
    clean_label: ClassVar[bool] = True
    rate: ClassVar[float] = 0.8

    degrees: float = 30.0
    eps: float = 0.05
    step: float = 0.01
    disentangle_steps: int = 10
    surrogate_clouds: int = 4000

    def __post_init__(self) -> None:
        turn(self.degrees)
        at_least("disentangle_steps", self.disentangle_steps, 0)
        at_least("surrogate_clouds", self.surrogate_clouds, 2)
        if not (self.eps > 0 and self.step > 0):
            raise BadArgument(f"eps and step must be above 0, got {self.eps} and {self.step}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Turn points (B, P, 3)."""
        return rotated(pixels, self.degrees)

    def harden(self, pixels: Tensor, labels: Tensor, workshop: Workshop) -> Tensor:
        """Move the points (N, P, 3) of objects of the target class within `eps`."""
        del labels
        if self.disentangle_steps == 0:
            return pixels
        network, device = surrogate(workshop, self.surrogate_clouds), workshop.execution.device
        samples = workshop.samples
        own = samples.inputs[samples.labels == workshop.target].split(BATCH)
        with torch.no_grad():
            mean = torch.cat([network.features(part.to(device)) for part in own]).mean(0)
        return torch.cat([self._disentangled(network, part.to(device), mean).cpu() for part in pixels.split(BATCH)])

    def _disentangled(self, network: Surrogate, points: Tensor, mean: Tensor) -> Tensor:
        moved = points
        for _ in range(self.disentangle_steps):
            moved = moved.detach().requires_grad_()
            similarity = F.cosine_similarity(network.features(self.stamp(moved)), mean[None])
            (slope,) = torch.autograd.grad(similarity.sum(), moved)
            away = moved.detach() - self.step * F.normalize(slope, dim=-1) - points
            moved = points + away * (self.eps / away.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp(max=1)
        return moved


METHOD = PointCBA
