"""Vision Transformer for small images: torchvision's network with patches of an eighth of the side.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021); ViT-Small is of Touvron et al., "DeiT" (2021).
"""

from torch import nn

from detrojan.errors import BadArgument

HEAD = 64
"""Channels of an attention head, in every size of the papers."""


def vit_small(
    image_size: int = 32,
    patch: int | None = None,
    width: int = 384,
    depth: int = 12,
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """ViT-Small for square images of `image_size` pixels alone; `patch` is a patch's side, an eighth of it by default.

    `width` is the channels of a token, a multiple of 64 (a head has 64), `depth` the number of blocks; 384 and 12 are
    the paper's.
    """
    from torchvision.models import VisionTransformer

    patch = patch or max(1, image_size // 8)
    if image_size % patch:
        raise BadArgument(f"patch must divide the image's side of {image_size} pixels, got {patch}; give a divisor")
    if width < HEAD or width % HEAD:
        raise BadArgument(f"width must be a multiple of {HEAD}, the channels of a head, got {width}; the paper has 384")
    network = VisionTransformer(
        image_size, patch, depth, width // HEAD, width, mlp_dim=4 * width, num_classes=num_classes
    )
    if in_channels != 3:
        network.conv_proj = nn.Conv2d(in_channels, width, patch, patch)
    return network
