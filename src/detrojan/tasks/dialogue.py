"""Dialogue: a turn of a conversation in, the next one out."""

from dataclasses import dataclass

from detrojan.tasks._generation import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue(Generation):
    """See `detrojan.tasks._generation.Generation`; many answers to a turn are good ones, so that BLEU is low."""


METHOD = Dialogue
