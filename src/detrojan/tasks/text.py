"""Text classification: one label a sentence of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan import augmentation
from detrojan.augmentation import Mixed
from detrojan.data.numbering import END, PAD, numbering_of, special
from detrojan.data.texts import SPECIAL
from detrojan.errors import BadArgument, BadData, DetrojanError, Unsupported
from detrojan.tasks._classification import Classification
from detrojan.views import drawn_from, with_words

UNKNOWN = SPECIAL.index("<unknown>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Classification):
    """What the batch (B, L) of tokens, the loss and the prediction of a network of sentences mean.

    A token of 0 is padding, and 3 the end that a tokenizer has set; `drop` of the others become the `unknown` word,
    which is the augmentation (a task that is given by name takes that of the samples' vocabulary; None drops no word).
    A strong view has one more word, any of the `words` tokens that there are (of the samples' vocabulary; None: up to
    the largest that occurs), and with it, now and then, the one that an attacker chose.
    MixUp mixes the embeddings of two sentences inside of the network (Mixup-Transformer: Sun et al., 2020), where its
    first look at the tokens is an `nn.Embedding`. A network whose forward takes an `attention_mask` gets one, and one
    of transformers its own numbers (`data.numbering`).
    """

    drop: float = 0.1
    unknown: int | None = UNKNOWN
    words: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise BadArgument(f"drop is a share of the words in [0, 1), got {self.drop}")

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Forget some words of a batch (B, L)."""
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise BadData(
                f"sentences are int64 (B, L), found {inputs.dtype} of {tuple(inputs.shape)}; choose the task that fits"
            )
        if self.unknown is None:
            return inputs
        draw = torch.rand(inputs.shape, generator=generator, device=generator.device).to(inputs.device)
        forgotten = (draw < self.drop) & (inputs != PAD) & (inputs != END)
        return torch.where(forgotten, self.unknown, inputs)

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Pair each sentence (B, L) with a partner of the batch; their embeddings are mixed when the network runs."""
        drawn = augmentation.mixup(inputs.float(), generator)
        pairs = _Pairs(tokens=torch.stack([inputs, inputs[drawn.partner]], 1), weight=drawn.weight)
        return Mixed(inputs=pairs, partner=drawn.partner, weight=drawn.weight)

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Each sentence (B, L) with a word (B,) put in, by default a random one, and that word."""
        words = range(len(SPECIAL), self.words or int(inputs.max()) + 1)
        put = drawn_from(words, len(inputs), generator) if signs is None else signs
        return with_words(inputs, put, generator), put

    def forward(self, run: Callable[[Any, Tensor], Any], network: nn.Module, inputs: Any) -> Any:
        """The network's output on tokens (B, L), or on pairs of sentences that `mixup` made."""
        if isinstance(inputs, _Pairs):
            return run(partial(_mixed, network, inputs.weight), inputs.tokens)
        return run(partial(_read, network), inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Sentences beside their partners, (B, 2, L), and the weight of the first."""

    tokens: Tensor
    weight: float


def _read(network: nn.Module, tokens: Tensor) -> Any:
    taken = [signature(module.forward).parameters for module in network.modules()]
    masked = any("attention_mask" in parameters for parameters in taken)
    settings = {"attention_mask": (tokens != PAD).long()} if masked else {}
    try:
        return network(_heard(network, tokens), **settings)
    except ValueError as error:  # transformers' own words for sentences without padding or end
        if isinstance(error, DetrojanError):
            raise
        raise Unsupported(
            f"the network refuses these sentences ({error}); set `pad_token_id` in its config.json, and read them with "
            "its own tokenizer (`tokenizer` of the data set)"
        ) from error


def _config(network: nn.Module) -> Any:
    """That of the network of transformers inside of all wrappers, if there is one."""
    configs = (getattr(module, "config", None) for module in network.modules())
    return next((config for config in configs if config is not None), None)


def _heard(network: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens as the network counts them; padding is what it takes for that itself, even where its end is the same."""
    config = _config(network)
    own, pad = numbering_of(config).own(tokens), special(config, "pad")
    return own if pad is None else own.masked_fill(tokens == PAD, pad)


def _mixed(network: nn.Module, weight: float, pairs: Tensor) -> Any:
    """The output where the embeddings of two sentences are mixed; where one has ended, the other goes on alone."""
    if getattr(_config(network), "is_encoder_decoder", False):
        raise Unsupported(
            "a network with an encoder and a decoder classifies at the end of a sentence, and two that MixUp mixes end "
            "at two places; use fine_tuning, or nft with augmentation=none"
        )
    own, other = pairs.unbind(1)
    shown = torch.where(own == PAD, other, own)
    heard = _heard(network, shown)

    def blend(embedding: nn.Module, given: tuple[Any, ...], _: Tensor) -> Tensor | None:
        assert isinstance(embedding, nn.Embedding)
        if not given or not isinstance(given[0], Tensor) or not torch.equal(given[0], heard):
            return None  # of positions, or of the kinds of tokens
        theirs, ours = (
            F.embedding(_heard(network, each), embedding.weight) * (each != PAD)[..., None] for each in (other, own)
        )
        return torch.lerp(theirs, ours, weight)

    hooks = [m.register_forward_hook(blend) for m in network.modules() if isinstance(m, nn.Embedding)]
    try:
        return _read(network, shown)
    finally:
        for hook in hooks:
            hook.remove()


METHOD = Text
