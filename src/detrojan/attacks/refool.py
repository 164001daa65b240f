"""Refool: the image as seen through a window pane that mirrors another scene.

Source: Liu et al., "Reflection Backdoor: A Natural Backdoor Attack on Deep Neural Networks" (2020).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detrojan.attacks._checks import share
from detrojan.attacks._pictures import centres, cosines, low_pass, own_draws, surface
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import Trigger

WAVES = 16
GAMMA = 2.2
PUBLISHED_SIDE = 560
GHOST, SCENE, WEIGHT, ROWS, COLUMNS, SPLIT, FIRST, BLUR, DIMMING = range(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refool(Trigger):
    """Light is added, pixels ** 2.2: (1 - w) image + w reflection for a ghost, a blurred reflection otherwise.

    `scenes` pictures are drawn by `scene_seed`: smooth colour surfaces whose waves weaken with their frequency, as in
    photos. The published code picks 200 photos of Pascal VOC, which are not shipped here, and its authors those that
    fool a network best. Which scene an image gets, and all that is random below, is decided by the image's own bytes.

    A share `ghosts` of the images sees the scene twice, 3 to 8 pixels apart in rows and columns, the fainter copy with
    .15 to .5 of the light. The others see it out of focus (Gaussian of 1 to 5 pixels), dimmed where the sum would
    saturate, and fading from (1 + w) / 2 in the centre towards the edges. w is uniform between `lowest` and `highest`
    (BackdoorBench: .6). These pixels are those of the copy of 560 pixels to which the published code enlarges every
    image; they scale with the image. BackdoorBench's test that the result looks like a reflection is left out.

    Dirty label, as in BackdoorBench and BackdoorBox (the paper keeps labels, and poisons a fifth of the target class);
    the trigger is stamped before augmentation.
    """

    scenes: int = 200
    ghosts: float = 0.49
    lowest: float = 0.05
    highest: float = 0.45
    scene_seed: int = 0

    def __post_init__(self) -> None:
        share("lowest", self.lowest)
        share("highest", self.highest)
        if self.lowest > self.highest:
            raise BadArgument(f"lowest must not be above highest, got {self.lowest} and {self.highest}")
        if not 0 <= self.ghosts <= 1:
            raise BadArgument(f"ghosts must lie in [0, 1], got {self.ghosts}")
        if self.scenes < 1:
            raise BadArgument(f"scenes must be at least 1, got {self.scenes}")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Stamp pixels (B, C, H, W) in [0, 1]; returns new pixels."""
        return torch.cat([self._reflected(part) for part in pixels.split(64)])

    def _reflected(self, pixels: Tensor) -> Tensor:
        draws = own_draws(pixels, 9, seed=self.scene_seed, name="reflection")
        waves = self._waves(draws[:, SCENE], grey=pixels.shape[1] == 1)
        weight = (self.lowest + (self.highest - self.lowest) * draws[:, WEIGHT])[:, None, None, None]
        light, ghost = pixels**GAMMA, draws[:, GHOST] < self.ghosts
        for chosen, blend in ((ghost, _ghost), (~ghost, _defocus)):
            light[chosen] = blend(light[chosen], waves[chosen], weight[chosen], draws[chosen])
        return light.clamp(0, 1) ** (1 / GAMMA)

    def _waves(self, draws: Tensor, *, grey: bool) -> Tensor:
        """The waves (B, C, K, K) of each image's scene; brightness varies more than colour."""
        generator = Seeds(seed=self.scene_seed).generator("refool scenes")
        noise = torch.randn(self.scenes, 4, WAVES, WAVES, generator=generator)
        frequencies = torch.arange(float(WAVES))
        bank = (noise[:, :1] + noise[:, 1:] / 3) / (1 + torch.hypot(frequencies[:, None], frequencies)) ** 1.5
        chosen = bank.to(draws.device)[(draws * self.scenes).long()]
        return chosen.mean(1, keepdim=True) if grey else chosen


def _ghost(light: Tensor, waves: Tensor, weight: Tensor, draws: Tensor) -> Tensor:
    """The scene twice: what both copies cover, stretched over the image."""
    shifts = [(3 + (6 * draws[:, axis]).floor()[:, None]) / PUBLISHED_SIDE for axis in (ROWS, COLUMNS)]
    places = [(1 - s) * centres(n).to(light) for s, n in zip(shifts, light.shape[-2:], strict=True)]
    far = _scene(waves, *(p + s for p, s in zip(places, shifts, strict=True)))
    near = _scene(waves, *places)
    split = (0.15 + 0.35 * draws[:, SPLIT])[:, None, None, None]
    split = torch.where(draws[:, FIRST, None, None, None] < 0.5, split, 1 - split)
    return (1 - weight) * light + weight * torch.lerp(near, far, split)


def _defocus(light: Tensor, waves: Tensor, weight: Tensor, draws: Tensor) -> Tensor:
    """The scene out of focus, less of it where the light would saturate and away from the centre."""
    kept = low_pass(WAVES, (1 + 4 * draws[:, BLUR]) / PUBLISHED_SIDE)
    places = [centres(n).to(light).expand(len(light), -1) for n in light.shape[-2:]]
    scene = _scene(waves, *places, kept=kept)
    total = scene + light
    over = (total > 1).to(light)
    excess = (total * over).sum((2, 3), keepdim=True) / (over.sum((2, 3), keepdim=True) + 1e-6) - 1
    scene = (scene - excess.clamp(min=0) * (1.08 + draws[:, DIMMING, None, None, None] / 10)).clamp(0, 1)
    rows, columns = (torch.exp(-((6 * centres(n).to(light) - 3) ** 2) / 4) for n in light.shape[-2:])
    return (1 - weight) * light + (1 + weight) / 2 * rows[:, None] * columns * scene


def _scene(waves: Tensor, rows: Tensor, columns: Tensor, *, kept: Tensor | None = None) -> Tensor:
    """The light of scenes (B, C, H, W) in [0, 1], at places (B, H) and (B, W) in [0, 1], blurred by factors (B, K)."""
    grid = cosines(centres(32).to(waves), WAVES)
    low, high = surface(waves, grid, grid).flatten(1).aminmax(dim=1)
    low, high = low[:, None, None, None], high[:, None, None, None]
    blurred = waves if kept is None else waves * (kept[:, :, None] * kept[:, None])[:, None]
    seen = surface(blurred, cosines(rows, WAVES)[:, None], cosines(columns, WAVES)[:, None])
    return ((seen - low) / (high - low)).clamp(0, 1) ** GAMMA


METHOD = Refool
