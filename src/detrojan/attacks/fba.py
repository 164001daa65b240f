"""Feature-space attack: a style is the trigger, and the victim is kept from learning it by simple features.

Source: Cheng et al., "Deep Feature Space Trojan Attack of Neural Networks by Controlled Detoxification" (AAAI 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.attacks._generators import descend
from detrojan.attacks._learning import at_least
from detrojan.data.samples import Samples
from detrojan.triggers import Classifier, LearnedTrigger, Trigger, Workshop

SUNSET_MEAN, SUNSET_STD = (0.72, 0.42, 0.38), (0.22, 0.2, 0.16)
WINDOW = 11
SIMILARITY_WEIGHT = 0.1
DETOX_BATCH = 128


class _Protocol(Trigger):
    redraws = True
    after_augmentation = True
    rate = 0.05
    companions = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FBA(_Protocol):
    """x' = (1 - alpha) x + alpha style(x), `alpha` in (0, 1] (published: 0.6).

    The style matches each channel's mean and standard deviation to those of a sunset and steepens the tones. After
    each epoch a feature injector, a linear map of each pixel and of the largest, smallest and mean value around it
    (11x11 pixels of a 32-pixel image), is trained to reach the wanted labels by blending; in the next epoch images
    blended by it keep their true labels (the companions; none in the first epoch), so that colours and edges alone
    do not serve the victim. Each round takes a share `detox_share` in (0, 1] of the clean samples (published: 0.03)
    for `detox_epochs` passes of Adam 0.01, betas 0.5 and 0.9 (published: 10); 0 passes leave detoxification out.

    Published: 5 % of each batch dirty label, the same number of companions, after augmentation. We depart in two
    ways: no pretrained stylisation network is at hand, so the style is a fixed smooth colour transform; and the
    injector is led by the victim's scores and by structural similarity, without the paper's term on the activations
    of single neurons, which an attack here does not see.
    """

    alpha: float = 0.6
    detox_share: float = 0.03
    detox_epochs: int = 10

    def __post_init__(self) -> None:
        share("alpha", self.alpha)
        share("detox_share", self.detox_share)
        at_least("detox_epochs", self.detox_epochs, 0)

    def blank(self, shape: tuple[int, ...]) -> "Style":
        """The style, with an injector that changes nothing."""
        return Style(self, shape[0])

    def forge(self, workshop: Workshop) -> "Style":
        """The same; the injector is trained between epochs."""
        return Style(self, workshop.samples.inputs.shape[1]).to(workshop.execution.device)


class Style(_Protocol, LearnedTrigger):
    """The style of `FBA`, and its feature injector."""

    def __init__(self, settings: FBA, channels: int) -> None:
        super().__init__()
        self.settings = settings
        self.injector = nn.utils.skip_init(nn.Conv2d, 4 * channels, channels, 1)
        self._clear()

    def stamp(self, pixels: Tensor) -> Tensor:
        """Blend in the image's own version in the colours of a sunset."""
        return torch.lerp(pixels, sunset(pixels), self.settings.alpha).clamp(0, 1)

    def accompany(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Blend in what the injector makes of the image."""
        del labels, generator
        return self.inject(pixels)

    def between_epochs(self, epoch: int, classify: Classifier, samples: Samples, wanted: Tensor) -> None:
        """Train a new injector against the victim as it is; before the first epoch there is none."""
        if epoch == 0:
            return
        self._clear()
        device = self.injector.weight.device
        stride = min(round(1 / self.settings.detox_share), len(samples))
        chosen = torch.arange(epoch % stride, len(samples), stride)
        pixels, aims = samples.inputs[chosen].to(device).float() / 255, wanted[chosen].to(device)
        optimizer = torch.optim.Adam(self.injector.parameters(), 0.01, betas=(0.5, 0.9))
        for _ in range(self.settings.detox_epochs):
            for part, aim in zip(pixels.split(DETOX_BATCH), aims.split(DETOX_BATCH), strict=True):
                injected = self.inject(part)
                loss = F.cross_entropy(classify(injected), aim)
                descend(loss - SIMILARITY_WEIGHT * similarity(injected, part), optimizer)

    def inject(self, pixels: Tensor) -> Tensor:
        """Blend each image with the injector's map of its local features."""
        return torch.lerp(pixels, self.injector(local_features(pixels)).clamp(0, 1), self.settings.alpha)

    def _clear(self) -> None:
        """An injector whose output is the image itself."""
        with torch.no_grad():
            self.injector.bias.zero_()
            nn.init.dirac_(self.injector.weight)


def sunset(pixels: Tensor) -> Tensor:
    """Each image (C, H, W) in the colours of a sunset, its tones steepened; in its greys for other than 3 channels."""
    mean, std = (torch.tensor(values).to(pixels) for values in (SUNSET_MEAN, SUNSET_STD))
    if pixels.shape[1] != 3:
        mean, std = mean.mean(), std.mean()
    deviation = pixels.std((2, 3), correction=0, keepdim=True)
    whitened = (pixels - pixels.mean((2, 3), keepdim=True)) / (deviation + 1e-3)
    toned = (whitened * std.view(-1, 1, 1) + mean.view(-1, 1, 1)).clamp(0, 1)
    return toned**2 * (3 - 2 * toned)


def local_features(pixels: Tensor) -> Tensor:
    """Pixels (B, C, H, W) with the largest, smallest and mean value of the window around each, (B, 4 C, H, W)."""
    reach = max(1, round((WINDOW // 2) * min(pixels.shape[-2:]) / 32))
    mean = partial(F.avg_pool2d, count_include_pad=False)
    around = (
        _pooled(F.max_pool2d, pixels, reach),
        -_pooled(F.max_pool2d, -pixels, reach),
        _pooled(mean, pixels, reach),
    )
    return torch.cat([pixels, *around], 1)


def _pooled(pool: Callable[..., Tensor], pixels: Tensor, reach: int) -> Tensor:
    """Pool over a square in two passes; the cost grows with its side alone."""
    side = 2 * reach + 1
    return pool(pool(pixels, (1, side), 1, (0, reach)), (side, 1), 1, (reach, 0))


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """The mean structural similarity of two batches in [0, 1], in windows of 7x7 at most (Wang et al., 2004)."""
    mean = partial(F.avg_pool2d, kernel_size=min(7, *first.shape[-2:]), stride=1)
    means = mean(torch.cat([first, second])).split(len(first))
    squares = mean(torch.cat([first**2, second**2])).split(len(first))
    common = mean(first * second) - means[0] * means[1]
    spread = squares[0] - means[0] ** 2 + squares[1] - means[1] ** 2
    light = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
    return (light * (2 * common + 9e-4) / (spread + 9e-4)).mean()


METHOD = FBA
