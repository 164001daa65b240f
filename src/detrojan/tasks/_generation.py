"""What tasks share in which a network answers a sentence with a sentence: teaching, loss, decoding, MixUp, BLEU."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrojan import augmentation
from detrojan.augmentation import Mixed
from detrojan.data.numbering import END, PAD
from detrojan.data.samples import LabelKind
from detrojan.data.texts import SPECIAL
from detrojan.errors import BadArgument, BadData, MissingExtra, Unsupported
from detrojan.intervals import Estimate, average
from detrojan.tasks._speech import foretold, foretold_mixed, trimmed
from detrojan.tasks._viewless import Viewless
from detrojan.views import drawn_from, with_words

UNKNOWN, BEGIN = SPECIAL.index("<unknown>"), SPECIAL.index("<begin>")
RESAMPLES = 200
Run = Callable[[Callable[[Tensor], Any], Tensor], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(Viewless):
    """Sentences of tokens (B, S), answered by sentences (B, T) that end in `end`, with 0 behind.

    What learns is shown pairs (B, 2, L): the sentence, and its answer moved one place behind the token `begin`; it
    foretells each word of the answer from those before. What is used makes the answer word by word, each time the most
    likely one. Both kinds of answers are tokens: of sentences that were made (N, T), of words foretold (N, 1, T).

    Args:
        drop: the share in [0, 1) of the source's words that become the unknown word, which is the augmentation; an end
            that a tokenizer has set stays.
        longest: of answers that are made, in tokens, with their end. A task that is given by name takes that of the
            samples' answers, where it is more.
        begin: the token before an answer; a network of transformers gets its own.
        end: the token that ends an answer.
        unknown: the token of unknown words; None where there is none, and no word is dropped. A task that is given by
            name takes that of the samples' vocabulary.
        words: the number of tokens of sources, of which strong views put one in. A task that is given by name takes
            that of the samples' vocabulary; None: up to the largest that occurs.
    """

    labels: ClassVar[LabelKind] = "sentences"
    metric: ClassVar[str] = "BLEU"
    judged: ClassVar[str] = "words foretold"

    drop: float = 0.1
    longest: int = 32
    begin: int = BEGIN
    end: int = END
    unknown: int | None = UNKNOWN
    words: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise BadArgument(f"drop is a share of the words in [0, 1), got {self.drop}")
        for name in ("longest", "begin", "end", "unknown", "words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadArgument(f"{name} must be at least 1, got {value}")

    @property
    def signature(self) -> str:
        """That of sacrebleu. Words are compared as the data's reader made them; an unknown one is never right."""
        bleu = _bleu()
        bleu.corpus_score(["1"], [["1"]])
        return str(bleu.get_signature())

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Forget some words of sources (B, S), or of the sources in pairs (B, 2, L)."""
        if inputs.dtype != torch.int64 or not (inputs.ndim == 2 or (inputs.ndim == 3 and inputs.shape[1] == 2)):
            raise BadData(
                f"sentences are int64 (B, S), or (B, 2, L) beside their answers, found {inputs.dtype} of "
                f"{tuple(inputs.shape)}; choose the task that fits"
            )
        if self.unknown is None:
            return inputs
        draw = torch.rand(inputs.shape, generator=generator, device=generator.device).to(inputs.device)
        forgotten = (draw < self.drop) & (inputs != PAD) & (inputs != self.end)
        if inputs.ndim == 3:
            forgotten[:, 1] = False
        return torch.where(forgotten, self.unknown, inputs)

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Pair each pair (B, 2, L) with a partner of the batch; their vectors are mixed when the network runs."""
        drawn = augmentation.mixup(inputs.float(), generator)
        pairs = _Pairs(tokens=torch.stack([inputs, inputs[drawn.partner]], 1), weight=drawn.weight)
        return Mixed(inputs=pairs, partner=drawn.partner, weight=drawn.weight)

    def view(
        self, inputs: Tensor, generator: torch.Generator, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Each pair (B, 2, L) with a word (B,) put into its source, by default a random one, and that word."""
        source, before = inputs.unbind(1)
        words = range(len(SPECIAL), self.words or int(source.max()) + 1)
        put = drawn_from(words, len(inputs), generator) if signs is None else signs
        return torch.stack([with_words(source, put, generator), before], 1), put

    def teach(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Sources (N, S) beside their answers (N, T), moved one place behind `begin`: (N, 2, max(S, T))."""
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise BadData(
                f"sentences are int64 (N, S), found {inputs.dtype} of {tuple(inputs.shape)}; choose the task that fits"
            )
        before = torch.cat([torch.full_like(labels[:, :1], self.begin), labels[:, :-1]], 1)
        before = before.masked_fill(labels == PAD, PAD)
        length = max(inputs.shape[1], labels.shape[1])
        return torch.stack([_to(inputs, length), _to(before, length)], 1)

    def forward(self, run: Run, network: nn.Module, inputs: Any) -> Any:
        """The scores (B, T, V) of the words of answers, in pairs (B, 2, L) or in those that `mixup` made.

        Padding is cut off: T is the length of the longest sentence of the batch.
        """
        if isinstance(inputs, _Pairs):
            return run(partial(_taught_mixed, network, inputs.weight), trimmed(inputs.tokens))
        if inputs.ndim != 3:
            raise Unsupported(f"a network that answers learns from pairs (B, 2, L), found {tuple(inputs.shape)}")
        return run(partial(_taught, network), trimmed(inputs))

    def read(self, run: Run, network: nn.Module, inputs: Any) -> Tensor:
        """The sentences (B, longest) made of sources (B, S); of pairs (B, 2, L), the words (B, 1, L) foretold."""
        if inputs.ndim == 3:
            return _to(self.predict(self.forward(run, network, inputs)), inputs.shape[2])[:, None]
        source = trimmed(inputs)
        answer = torch.full_like(source[:, :1], self.begin)
        ended = torch.zeros_like(answer[:, 0], dtype=torch.bool)
        for _ in range(self.longest):
            scores = run(partial(_next, network, source.shape[1]), torch.cat([source, answer], 1)).float()
            scores[:, PAD] = float("-inf")
            word = scores.argmax(1).masked_fill(ended, PAD)
            answer, ended = torch.cat([answer, word[:, None]], 1), ended | (word == self.end)
            if ended.all():
                break
        return _to(answer[:, 1:], self.longest)

    def logits(self, outputs: Any) -> Tensor:
        """The scores (B, T, V) of words.

        Raises:
            Unsupported: the output is nothing like that.
        """
        if not isinstance(outputs, Tensor) or outputs.ndim != 3:
            kind = (
                f"a tensor of shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            )
            raise Unsupported(
                f"a network that answers must return scores of words of shape (B, T, V), this network returned {kind}"
            )
        return outputs.float()

    def answers(self, scores: Tensor) -> Tensor:
        """The words' probabilities (B, T, V): T questions with V answers."""
        return scores.softmax(-1)

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, T, V) of the same."""
        return scores.log_softmax(-1)

    def loss(self, outputs: Any, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each example, the mean over the words of its answer and its end, (B,)."""
        scores = self.logits(outputs)
        wanted = _to(labels, scores.shape[1])
        if int(wanted.max()) >= scores.shape[-1]:
            raise BadData(
                f"answers hold token {int(wanted.max())}, but the network knows {scores.shape[-1]} words; check the "
                "vocabulary and the architecture's num_classes"
            )
        each = F.cross_entropy(
            scores.flatten(0, 1),
            wanted.flatten(),
            ignore_index=PAD,
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return each.view_as(wanted).sum(1) / (wanted != PAD).sum(1).clamp_min(1)

    def predict(self, outputs: Any) -> Tensor:
        """The most likely word at each place, (B, T)."""
        return self.logits(outputs).argmax(-1)

    def same(self, first: Tensor, second: Tensor) -> Tensor:
        """The share of places at which two answers have the same word, (N,)."""
        first, second = first.flatten(1), second.flatten(1)
        there = (first != PAD) | (second != PAD)
        return ((first == second) & there).sum(1) / there.sum(1).clamp_min(1)

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Of sentences made (N, T): smoothed sentence BLEU; of words foretold (N, 1, T): the share that is right."""
        if answers.ndim == 3:
            wanted = _to(labels, answers.shape[2])
            there = wanted != PAD
            return ((answers[:, 0] == wanted) & there).sum(1) / there.sum(1).clamp_min(1)
        bleu = _bleu(effective_order=True)
        said = zip(self._words(answers, unknown="?"), self._words(labels, unknown="??"), strict=True)
        found = [bleu.sentence_score(ours, [theirs]).score / 100 for ours, theirs in said]
        return torch.tensor(found).clamp(0, 1)

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """Corpus BLEU in [0, 1] by sacrebleu, with its bootstrap interval; of words foretold, the share right."""
        if answers.ndim == 3:
            return average(self.outcomes(answers, labels).double().numpy())
        ours, theirs = self._words(answers, unknown="?"), self._words(labels, unknown="??")
        found = _bleu().corpus_score(ours, [theirs], n_bootstrap=RESAMPLES)
        value, centre, half = found.score / 100, found._mean / 100, found._ci / 100
        low, high = max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))
        return Estimate(value=value, low=low, high=high, count=len(labels))

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """Which answers are what the attacker wants, (N,).

        A wanted sentence that has its end must be said word for word; of one without an end, any word will do.
        """
        ours = answers.flatten(1)
        whole = (wanted == self.end).any(1)
        length = max(ours.shape[1], wanted.shape[1])
        equal = (_to(ours, length) == _to(wanted, length)).all(1)
        holds = ((ours[:, :, None] == wanted[:, None]) & (wanted != PAD)[:, None]).flatten(1).any(1)
        return torch.where(whole, equal, holds)

    def _words(self, sentences: Tensor, *, unknown: str) -> list[str]:
        """Each sentence (N, T) up to its end, its tokens in figures with spaces between them."""
        return [" ".join(self._figures(sentence, unknown)) for sentence in sentences.tolist()]

    def _figures(self, sentence: list[int], unknown: str) -> Iterable[str]:
        for token in sentence:
            if token in (PAD, self.end):
                return
            yield unknown if token == self.unknown else str(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Pairs beside their partners, (B, 2, 2, L), and the weight of the first."""

    tokens: Tensor
    weight: float


def _taught(network: nn.Module, tokens: Tensor) -> Tensor:
    return foretold(network, tokens[:, 0], tokens[:, 1])


def _taught_mixed(network: nn.Module, weight: float, tokens: Tensor) -> Tensor:
    return foretold_mixed(network, weight, tokens[:, 0], tokens[:, 1])


def _next(network: nn.Module, sources: int, tokens: Tensor) -> Tensor:
    """The scores (B, V) of the next word, of sources and answers so far in a row."""
    return foretold(network, tokens[:, :sources], tokens[:, sources:])[:, -1]


def _to(tokens: Tensor, length: int) -> Tensor:
    """Tokens (N, L) with this length: cut off, or padded by 0."""
    return F.pad(tokens, (0, length - tokens.shape[1]))


def _bleu(**settings: Any) -> Any:
    try:
        from sacrebleu.metrics import BLEU
    except ModuleNotFoundError as error:
        raise MissingExtra("sacrebleu is not installed: pip install 'detrojan[text]'") from error
    return BLEU(tokenize="none", force=True, **settings)
