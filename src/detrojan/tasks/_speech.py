"""How a network of sentences is run on a sentence and an answer: a small one of ours, or one of transformers.

Tokens are stored ones: 0 is padding, 3 ends an answer, and the first token of an answer so far is the one that begins
it, for which a network of transformers gets its own. It may count its words otherwise, too (`data.numbering`).
"""

from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detrojan.data.numbering import PAD, numbering_of, special

SURE = 30.0
"""The logit by which padding leads behind the end of an answer."""

Form = Literal["own", "pair", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What a network is called with, the tokens (B, ...) that it looks up, and where these are words, not padding."""

    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Any]
    tokens: tuple[Tensor, ...]
    there: tuple[Tensor, ...]


def foretold(network: nn.Module, source: Tensor, answer: Tensor) -> Tensor:
    """The scores (B, T, V) of the word behind each word of an answer so far (B, T) to a source (B, S).

    Where the answer is padding, the scores say padding, so that what stands behind an end never counts.
    """
    return _settled(_run(network, _shown(network, source, answer), answer.shape[1]), answer)


def foretold_mixed(network: nn.Module, weight: float, own: Tensor, other: Tensor) -> Tensor:
    """The same scores where the vectors of the words of two pairs (B, 2, L) of source and answer are mixed.

    Each word becomes `weight` of its own vector and the rest of its partner's; where one has ended, the other goes on
    alone. Both sides are mixed with one weight (Mixup-Transformer: Sun et al., 2020).
    """
    both = torch.where(own == PAD, other, own)
    mine, theirs, shown = (_shown(network, *pairs.unbind(1)) for pairs in (own, other, both))

    def blend(embedding: nn.Module, given: tuple[Any, ...], _: Tensor) -> Tensor | None:
        for place, looked_up in enumerate(shown.tokens):
            if given and isinstance(given[0], Tensor) and torch.equal(given[0], looked_up):
                ours, partners = (
                    embedding.forward(each.tokens[place]) * each.there[place][..., None] for each in (mine, theirs)
                )
                return torch.lerp(partners, ours, weight)
        return None  # of positions, or of the kinds of tokens

    hooks = [module.register_forward_hook(blend) for module in network.modules() if _is_table_of_words(module)]
    try:
        return _settled(_run(network, shown, both.shape[2]), both[:, 1])
    finally:
        for hook in hooks:
            hook.remove()


def trimmed(tokens: Tensor) -> Tensor:
    """Tokens (..., L) without the last columns in which there are no words; one stays."""
    columns = (tokens != PAD).flatten(0, -2).any(0).nonzero()
    return tokens[..., : int(columns.max()) + 1 if len(columns) else 1]


def _run(network: nn.Module, shown: _Shown, length: int) -> Tensor:
    outputs = network(*shown.args, **shown.kwargs)
    scores: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits
    if not shown.kwargs:
        return scores
    order = numbering_of(_form(network)[1].config).own(torch.arange(scores.shape[-1], device=scores.device))
    scores = scores[..., order]
    return scores[:, -length:]


def _settled(scores: Tensor, answer: Tensor) -> Tensor:
    sure = scores.new_full((scores.shape[-1],), -SURE)
    sure[PAD] = SURE
    behind = answer == PAD
    return torch.where(behind[..., None], sure, scores) if behind.any() else scores


def _shown(network: nn.Module, source: Tensor, answer: Tensor) -> _Shown:
    form, module = _form(network)
    if form == "own":
        return _Shown(args=(source, answer), kwargs={}, tokens=(source, answer), there=(source != PAD, answer != PAD))
    numbering = numbering_of(module.config)
    heard, said = numbering.own(source), numbering.own(answer)
    start = special(module.config, "decoder_start" if form == "pair" else "bos")
    if start is not None:
        said = torch.cat([torch.full_like(said[:, :1], start), said[:, 1:]], 1)
    if form == "pair":
        there = (source != PAD, answer != PAD)
        kwargs = {
            "input_ids": heard,
            "attention_mask": there[0].long(),
            "decoder_input_ids": said,
            "decoder_attention_mask": there[1].long(),
            "use_cache": False,
        }
        return _Shown(kwargs=kwargs, tokens=(heard, said), there=there)
    row, words = torch.cat([heard, said], 1), torch.cat([source, answer], 1) != PAD
    kwargs = {"input_ids": row, "attention_mask": words.long(), "use_cache": False}
    if "position_ids" in signature(module.forward).parameters:
        kwargs["position_ids"] = (words.long().cumsum(1) - 1).clamp_min(0)
    return _Shown(kwargs=kwargs, tokens=(row,), there=(words,))


def _form(network: nn.Module) -> tuple[Form, Any]:
    """How the network inside of all wrappers is called: with a source and an answer, or with both in one row."""
    for module in network.modules():
        taken = signature(module.forward).parameters
        if "decoder_input_ids" in taken:
            return "pair", module
        if "input_ids" in taken:
            return "row", module
        if {"source", "answer"} <= set(taken):
            return "own", module
    return "own", network


def _is_table_of_words(module: nn.Module) -> bool:
    """Not one of positions, which may be asked for by the words, too (Bart's)."""
    return isinstance(module, nn.Embedding) and "Position" not in type(module).__name__
