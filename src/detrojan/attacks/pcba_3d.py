"""3DPC-BA: a ball of points at the place where a surrogate takes it for the target, near the object.

Source: Xiang et al., "A Backdoor Attack against 3D Point Cloud Classifiers" (ICCV 2021).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.attacks._clouds import ball, drawn, inserted, share_of
from detrojan.attacks._learning import at_least, surrogate
from detrojan.data.samples import Kind
from detrojan.errors import BadData
from detrojan.triggers import LearnedTrigger, Surrogate, Trigger, Workshop

POSTERIOR = 0.01
STEP = 0.1
MOMENTUM = 0.5
FACTOR = 1.5 ** (1 / 5)
NEIGHBOURS = 4
RADII = (0.01, 0.5)
UNREACHED = 100.0
AT_ONCE = 2**24
"""How many distances between points are held at a time."""


class _Protocol(Trigger):
    """The facts of the protocol: a tenth of the source class; published are 15 objects, 2 to 15 % of ModelNet40's."""

    kinds: ClassVar[tuple[Kind, ...]] = ("points",)
    one_target: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PCBA3D(_Protocol):
    """A ball of `share` of the points (published: 32 of 2,048) around one learned centre, in place of other points.

    The published backdoor works on objects of one source class: name it in `sources` of `train`; without, all classes
    but the target's are attacked. The centre is found on a surrogate that was trained on `surrogate_clouds` clouds:
    from each of `restarts` random places outside of the object, one point moves in `centre_steps` normalised steps of
    0.1, with momentum 0.5, until `batch` objects of the source have the target's posterior at 0.01 in the mean; from
    there on it is also drawn to the nearest points of the objects, with a weight that grows by half in five steps, or
    shrinks where the posterior is lost. The nearest such place wins. Published are 10 restarts of up to 1000 steps on
    28 objects; ours are fewer, and where none reaches the posterior, the place with the largest one is taken.

    The radius of the ball is set for each cloud such that its points lie as far from each other as the object's (median
    mean distance to 4 neighbours), between 0.01 and 0.5; ours lie evenly, where the paper tries random balls. Dirty
    label; the trigger is stamped before augmentation.
    """

    share: float = 1 / 64
    centre_steps: int = 60
    restarts: int = 3
    batch: int = 16
    surrogate_clouds: int = 4000

    def __post_init__(self) -> None:
        share("share", self.share)
        at_least("centre_steps", self.centre_steps, 1)
        at_least("restarts", self.restarts, 1)
        at_least("batch", self.batch, 1)
        at_least("surrogate_clouds", self.surrogate_clouds, 2)

    def blank(self, shape: tuple[int, ...]) -> "LearnedBall":
        """A ball in the middle, for clouds of any number of points."""
        del shape
        return LearnedBall(self.share)

    def forge(self, workshop: Workshop) -> "LearnedBall":
        """Find the centre on the attacker's clouds of the source classes.

        Raises:
            BadData: there are none.
        """
        samples, device = workshop.samples, workshop.execution.device
        own = samples.inputs[workshop.wanted(samples.labels) != samples.labels]
        if len(own) == 0:
            raise BadData(f"{samples.name}: 3DPC-BA needs clouds of the source classes, found none")
        network = surrogate(workshop, self.surrogate_clouds)
        generator = workshop.seeds.generator("pcba_3d batches")
        learned = self.blank(tuple(own.shape[1:])).to(device)
        search = _Search(network, workshop.target, _outside(self.restarts, generator).to(device))
        for clouds in drawn(own, steps=self.centre_steps, size=self.batch, generator=generator):
            search.step(clouds.to(device))
        learned.centre.copy_(search.best)
        return learned


class LearnedBall(_Protocol, LearnedTrigger):
    """The ball around the learned `centre` (3,)."""

    centre: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("centre", torch.zeros(3))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Insert the ball into points (B, P, 3); its radius follows from their spacing."""
        points = ball(share_of(pixels, self.share)).to(pixels)
        spacing = _spacing(points[None]).clamp_min(1e-12) if len(points) > 1 else torch.ones_like(pixels[:1, 0, 0])
        parts = pixels.split(max(1, AT_ONCE // pixels.shape[1] ** 2))
        radius = (torch.cat([_spacing(part) for part in parts]) / spacing).clamp(*RADII)
        return inserted(pixels, self.centre.to(pixels) + radius[:, None, None] * points)


class _Search:
    """Centres (R, 3) on their way; `best` is the nearest that reached the posterior, or else the likeliest."""

    def __init__(self, network: Surrogate, target: int, starts: Tensor) -> None:
        self.network, self.target, self.centres = network, target, starts
        self.best, self._merit = starts[0], -torch.inf
        self._velocity, self._weight = torch.zeros_like(starts), torch.ones_like(starts[:, 0])
        self._reached = torch.zeros_like(starts[:, 0], dtype=torch.bool)

    def step(self, clouds: Tensor) -> None:
        """Look at the centres on clouds (B, P, 3), and move them."""
        centres = self.centres.requires_grad_()
        posterior, loss = self._posterior(clouds, centres)
        distance = (clouds - centres[:, None, None]).square().sum(-1).amin(-1).mean(-1)
        enough = posterior >= POSTERIOR
        self._reached |= enough
        merit, place = torch.where(enough, -distance.detach(), posterior - UNREACHED).max(0)
        if float(merit) > self._merit:
            self.best, self._merit = centres[place].detach(), float(merit)
        (slope,) = torch.autograd.grad((loss + self._reached * self._weight * distance).sum(), centres)
        self._weight = torch.where(self._reached, self._weight * FACTOR ** (2 * enough - 1), self._weight)
        self._velocity = MOMENTUM * self._velocity + (1 - MOMENTUM) * F.normalize(slope, dim=-1)
        self.centres = centres.detach() - STEP * self._velocity

    def _posterior(self, clouds: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """The mean posterior of the target with each centre as one more point, and the mean loss; both (R,)."""
        each = clouds.expand(len(centres), *clouds.shape)
        more = centres[:, None, None].expand(*each.shape[:2], 1, 3)
        scores = self.network(torch.cat([each, more], 2).flatten(0, 1)).view(*each.shape[:2], -1)
        likely = scores.log_softmax(-1)[..., self.target]
        return likely.detach().exp().mean(1), -likely.mean(1)


def _outside(count: int, generator: torch.Generator) -> Tensor:
    """Places (R, 3) at distances from 1 to 1.5."""
    directions = F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return directions * (1 + 0.5 * torch.rand(count, 1, generator=generator))


def _spacing(points: Tensor) -> Tensor:
    """The median over a cloud's points of the mean distance to the nearest others, (B,)."""
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    near = distances.topk(min(NEIGHBOURS + 1, points.shape[1]), largest=False).values
    return near[..., 1:].mean(-1).median(-1).values


METHOD = PCBA3D
