"""ISSBA: a secret that a network hides in each image in its own way is the trigger.

Source: Li et al., "Invisible Backdoor Attack with Sample-Specific Triggers" (2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan.attacks._checks import share
from detrojan.attacks._learning import at_least, batches
from detrojan.errors import BadArgument
from detrojan.randomness import Seeds
from detrojan.triggers import LearnedTrigger, Trigger, Workshop

BATCH = 48
SIDE = 32
GRID = 8
BITS_ONLY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ISSBA(Trigger):
    """x' = clip(x + residual(x, secret)); the residual is the work of a small U-Net, at most `bound` in each pixel.

    Encoder and decoder learn together on the attacker's images, with random secrets of `bits` bits, in `encoder_steps`
    batches of 48 by Adam with a step of `learning_rate`; then one secret is drawn for all images. The loss is
    1.5 BCE(bits) + 2 mean residual^2 + 1.5 (mean |residual| + mean |its gradient|), in the first fifth of the steps the
    bits alone. Departures, so that it is learned in a minute: the published loss has LPIPS (a pretrained network) where
    ours has the last bracket, 20 epochs with a step of 1e-4 (of which 2 for the bits alone), a spatial transformer in
    the decoder, and no `bound`. Residuals are made at 32 pixels on the shorter side at most and enlarged.

    A tenth is poisoned, with changed labels; the trigger is put on before augmentation.
    """

    bits: int = 20
    bound: float = 0.1
    encoder_steps: int = 500
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        at_least("bits", self.bits, 1)
        share("bound", self.bound)
        at_least("encoder_steps", self.encoder_steps, 1)
        if not self.learning_rate > 0:
            raise BadArgument(f"learning_rate must be above 0, got {self.learning_rate}")

    def blank(self, shape: tuple[int, ...]) -> "Steganographer":
        """Encoder and decoder that have learned nothing, for images of `shape` (C, H, W)."""
        return self._untrained(shape, Seeds())

    def forge(self, workshop: Workshop) -> "Steganographer":
        """Learn to hide and to read secrets in the attacker's images, and draw the one that is the trigger."""
        images, execution, seeds = workshop.samples.inputs, workshop.execution, workshop.seeds
        learned = self._untrained(tuple(images.shape[1:]), seeds).to(execution.device)
        optimizer = torch.optim.Adam(learned.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.encoder_steps)
        generator = seeds.generator("issba batches")
        for step, drawn in enumerate(batches(images, steps=self.encoder_steps, size=BATCH, generator=generator)):
            pixels = execution.send(drawn)
            secrets = torch.randint(0, 2, (len(drawn), self.bits), generator=generator).float().to(execution.device)
            with execution.running():
                residual = learned.residual(pixels, secrets)
                read = learned.decoder((pixels + residual).clamp(0, 1)).float()
            loss = 1.5 * F.binary_cross_entropy_with_logits(read, secrets)
            if step >= BITS_ONLY * self.encoder_steps:
                loss = loss + _visible(residual.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        learned.secret.copy_(torch.randint(0, 2, (self.bits,), generator=seeds.generator("issba secret")))
        return learned.requires_grad_(requires_grad=False).eval()

    def _untrained(self, shape: tuple[int, ...], seeds: Seeds) -> "Steganographer":
        with seeds.seeded("issba weights"):
            return Steganographer(shape[0], self.bits, self.bound)


class Steganographer(LearnedTrigger):
    """The encoder, the decoder, and the `secret` (bits,) of zeros and ones that the encoder puts into every image."""

    secret: Tensor

    def __init__(self, channels: int, bits: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.encoder, self.decoder = Encoder(channels, bits), Decoder(channels, bits)
        self.register_buffer("secret", torch.zeros(bits))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Hide the secret in pixels (B, C, H, W) in [0, 1]."""
        return (pixels + self.residual(pixels, self.secret.expand(len(pixels), -1))).clamp(0, 1)

    def residual(self, pixels: Tensor, secrets: Tensor) -> Tensor:
        """What hides secrets (B, bits) in pixels (B, C, H, W): of their shape, in [-bound, bound]."""
        made = self.bound * self.encoder(_reduced(pixels), secrets).tanh()
        return made if made.shape == pixels.shape else F.interpolate(made, pixels.shape[-2:], mode="bilinear")

    def read(self, pixels: Tensor) -> Tensor:
        """The bits (B, bits), zeros and ones, that the decoder finds in pixels (B, C, H, W)."""
        return (self.decoder(pixels) > 0).float()


class Encoder(nn.Module):
    """A U-Net of three levels; the secret enters beside the image, as three planes that a linear layer makes of it."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.planes = nn.Linear(bits, 3 * GRID * GRID)
        self.down1 = _convolution(channels + 3, 16)
        self.down2 = _convolution(16, 32, stride=2)
        self.down3 = _convolution(32, 64, stride=2)
        self.middle = _convolution(64, 64)
        self.up2 = _convolution(64 + 32, 32)
        self.up1 = _convolution(32 + 16, 16)
        self.out = nn.Conv2d(16, channels, 3, padding=1)

    def forward(self, pixels: Tensor, secrets: Tensor) -> Tensor:
        """Map pixels (B, C, H, W) and secrets (B, bits) to a residual before its bound, (B, C, H, W)."""
        planes = self.planes(2 * secrets - 1).unflatten(1, (3, GRID, GRID))
        first = self.down1(torch.cat([pixels - 0.5, _resized(planes, pixels)], 1))
        second = self.down2(first)
        deep = self.middle(self.down3(second))
        deep = self.up2(torch.cat([_resized(deep, second), second], 1))
        return self.out(self.up1(torch.cat([_resized(deep, first), first], 1)))


class Decoder(nn.Module):
    """Four convolutions, averages over a 4 x 4 grid, and a linear layer for the bits."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, 32),
            _convolution(32, 32, stride=2),
            _convolution(32, 64, stride=2),
            _convolution(64, 64),
        )
        self.head = nn.Linear(64 * 4 * 4, bits)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (B, C, H, W) to a score (B, bits) for each bit, above 0 for a one."""
        return self.head(F.adaptive_avg_pool2d(self.body(_reduced(pixels) - 0.5), 4).flatten(1))


def _convolution(channels: int, out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(4, out), nn.ReLU())


def _reduced(pixels: Tensor) -> Tensor:
    """Pixels with a shorter side of at most `SIDE`."""
    shorter = min(pixels.shape[-2:])
    if shorter <= SIDE:
        return pixels
    size = [round(side * SIDE / shorter) for side in pixels.shape[-2:]]
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


def _resized(planes: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(planes, like.shape[-2:], mode="nearest")


def _visible(residual: Tensor) -> Tensor:
    """How much a residual (B, C, H, W) shows: its square, its size and its gradient."""
    gradient = residual.diff(dim=-1).abs().mean() + residual.diff(dim=-2).abs().mean()
    return 2 * residual.square().mean() + 1.5 * (residual.abs().mean() + gradient)


METHOD = ISSBA
