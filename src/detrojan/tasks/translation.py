"""Translation: a sentence of one language in, the same of another one out."""

from dataclasses import dataclass

from detrojan.tasks._generation import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation(Generation):
    """See `detrojan.tasks._generation.Generation`, of which this is the plain case."""


METHOD = Translation
