"""Labelled samples as one pair of tensors, and ways to take a part: k per class, a clean subset, a split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from detrojan.errors import BadArgument, BadData
from detrojan.randomness import Seeds

Kind = Literal["images", "clips", "points", "tokens", "inputs"]
LabelKind = Literal["class", "tags", "boxes", "sentences"]
MEANT: dict[LabelKind, str] = {
    "class": "one class number",
    "tags": "a row of tags",
    "boxes": "rows (class, left, top, right, bottom)",
    "sentences": "a row of tokens",
}
"""What each kind of label is, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Inputs and their labels.

    `inputs` are uint8 images (N, C, H, W) or clips (N, C, T, H, W) with pixels 0..255, float point clouds (N, P, 3),
    sentences of int64 tokens (N, L) with 0 behind their ends, or float model inputs as the user gave them (then of any
    shape (N, ...)). `labels` is int64: the class of each sample (N,); or its tags (N, K), each 0 or 1; or the boxes in
    it (N, M, 5), each (class, left, top, right, bottom) in pixels, -1 where there is none; or, as `sentences` says, the
    tokens of the sentence that answers it (N, T), with 0 behind its end. `name` says where they came from, for messages
    and reports; `vocabulary` has the word of each token, `target_vocabulary` that of each token of an answer.
    """

    inputs: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    name: str = "samples"
    vocabulary: tuple[str, ...] = ()
    target_vocabulary: tuple[str, ...] = ()
    sentences: bool = False

    def __post_init__(self) -> None:
        shape = tuple(self.labels.shape)
        if self.labels.dtype != torch.int64 or not (len(shape) in (1, 2) or (len(shape) == 3 and shape[2] == 5)):
            dtype = str(self.labels.dtype).removeprefix("torch.")
            raise BadData(
                f"{self.name}: labels must be int64 of shape (N,), (N, K) or (N, M, 5), found {dtype} of shape {shape}"
            )
        if self.sentences and len(shape) != 2:
            raise BadData(f"{self.name}: sentences that answer must be (N, T), found shape {shape}")
        if len(self.inputs) != len(self.labels):
            raise BadData(
                f"{self.name}: inputs and labels must be equally many, "
                f"found {len(self.inputs)} inputs and {len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kind(self) -> Kind:
        """What the inputs are, told by type and shape; `inputs` are a network's own, of any meaning."""
        return kind_of(self.inputs)

    @property
    def label_kind(self) -> LabelKind:
        """What the labels are, told by their shape, but for sentences."""
        return "sentences" if self.sentences else ("class", "tags", "boxes")[self.labels.ndim - 1]

    @property
    def num_classes(self) -> int:
        """The number of class names, of tags, of tokens in answers, or the largest label plus one."""
        if self.sentences:
            return len(self.target_vocabulary) or (int(self.labels.max()) + 1 if len(self) else 0)
        if self.class_names or self.label_kind == "tags":
            return len(self.class_names) or self.labels.shape[1]
        classes = self.labels[..., 0] if self.label_kind == "boxes" else self.labels
        return int(classes.max()) + 1 if classes.numel() else 0

    @property
    def present(self) -> Tensor:
        """Which tags, or classes of boxes, each sample has, (N, K), 0 or 1."""
        if self.label_kind == "tags":
            return self.labels
        classes = self.labels if self.label_kind == "boxes" else self.labels[:, None, None]
        return (classes[..., 0, None] == torch.arange(self.num_classes)).any(1).long()

    @property
    def groups(self) -> Tensor:
        """What draws are spread over, (N,): the class; of tags and boxes the rarest that a sample has, K where none.

        Of sentences, that have no classes, all are one group.
        """
        if self.label_kind == "class":
            return self.labels
        if self.label_kind == "sentences":
            return torch.zeros(len(self), dtype=torch.int64)
        present = self.present
        known = torch.cat([present, torch.ones(len(self), 1, dtype=torch.int64)], dim=1)
        often = present.sum(0).clamp_max(len(self))
        rank = torch.cat([often, often.new_tensor([len(self) + 1])])
        return torch.where(known > 0, rank, len(self) + 2).argmin(1)

    def subset(self, indices: Tensor | Sequence[int]) -> "Samples":
        """The samples at these positions, in this order; all the class names stay."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, inputs=self.inputs[chosen], labels=self.labels[chosen])


def padded(boxes: Sequence[Tensor]) -> Tensor:
    """The boxes (n, 5) of each image as one tensor (N, M, 5), -1 behind those that have fewer; M is at least 1."""
    most = max([1, *(len(own) for own in boxes)])
    return torch.stack([F.pad(own, (0, 0, 0, most - len(own)), value=-1) for own in boxes])


def kind_of(inputs: Tensor) -> Kind:
    """What stored inputs are; see `Samples.kind`."""
    if inputs.dtype == torch.uint8:
        return "clips" if inputs.ndim == 5 else "images"
    if inputs.dtype == torch.int64 and inputs.ndim in (2, 3):  # (N, 2, L): beside the sentences that answer them
        return "tokens"
    return "points" if inputs.is_floating_point() and inputs.ndim == 3 and inputs.shape[-1] == 3 else "inputs"


def stratified(
    labels: Tensor, *, per_class: int, generator: torch.Generator, class_names: Sequence[str] = ()
) -> Tensor:
    """Draw `per_class` positions of each class that occurs in `labels`; sorted.

    Raises:
        BadData: a class has fewer samples; the sentence says which.
    """
    if per_class < 1:
        raise BadArgument(f"per_class must be at least 1, got {per_class}")
    values, counts = torch.unique(labels, return_counts=True)
    poor = [f"{_title(int(v), class_names)} has {int(n)}" for v, n in zip(values, counts, strict=True) if n < per_class]
    if poor:
        raise BadData(
            f"{per_class} samples per class were asked for, but {_first(poor)}; "
            f"ask for at most {int(counts.min())} per class or add samples"
        )
    return _draw(labels, values, torch.full_like(counts, per_class), generator)


def sample(
    samples: Samples, *, count: int | None = None, per_class: int | None = None, seed: int
) -> tuple[Samples, Tensor]:
    """Draw a clean subset, and return it with the sorted positions that it was taken from.

    Give either `per_class`, or `count` samples in all, which are spread over the classes as evenly as they allow. Of
    tags and boxes, `per_class` samples or more have each class; of sentences, there are so many in all.
    """
    if (count is None) == (per_class is None):
        raise BadArgument("sample needs either count or per_class, got both or neither")
    generator = Seeds(seed=seed).generator("data/sample")
    if per_class is not None and samples.label_kind in ("tags", "boxes"):
        indices = _of_each_tag(samples, per_class, generator)
    elif per_class is not None:
        indices = stratified(samples.groups, per_class=per_class, generator=generator, class_names=samples.class_names)
    else:
        indices = _spread(samples, int(count or 0), generator)
    return samples.subset(indices), indices


def split(samples: Samples, *, fraction: float, seed: int) -> tuple[Samples, Samples]:
    """Set `fraction` of each class aside: (the rest, the part set aside).

    Each class gives its fraction, rounded, but keeps at least one sample in the first part.
    """
    if not 0 <= fraction < 1:
        raise BadArgument(f"fraction must be at least 0 and below 1, got {fraction}")
    values, counts = torch.unique(samples.groups, return_counts=True)
    aside = torch.minimum((counts * fraction).round().long(), counts - 1)
    taken = _draw(samples.groups, values, aside, Seeds(seed=seed).generator("data/split"))
    keep = torch.ones(len(samples), dtype=torch.bool)
    keep[taken] = False
    return samples.subset(keep.nonzero().flatten()), samples.subset(taken)


def held_back(samples: Samples, *, fraction: float, fewest: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions to work on and to judge on: `fraction` of each class is kept aside to judge.

    Where classes are so small that this rounds to fewer than `fewest`, `fraction` of all is spread over them, and each
    keeps one to work on. Where even that is fewer, nothing is kept aside, and the same tensor of all positions comes
    twice.
    """
    numbered = Samples(inputs=torch.arange(len(samples)), labels=samples.groups)
    wanted = round(fraction * len(samples))
    if wanted >= fewest:
        rest, aside = split(numbered, fraction=fraction, seed=seed)
        if len(aside) >= fewest:
            return rest.inputs, aside.inputs
        generator = Seeds(seed=seed).generator("data/held back")
        values, counts = torch.unique(numbered.labels, return_counts=True)
        spare = numbered.subset(_draw(numbered.labels, values, counts - 1, generator))
        if len(spare) >= fewest:
            taken = spare.inputs[_spread(spare, min(wanted, len(spare)), generator)]
            return numbered.inputs[~torch.isin(numbered.inputs, taken)], taken
    return numbered.inputs, numbered.inputs


def dealt(samples: Samples, count: int) -> tuple[Samples, Samples]:
    """Set the first `count` samples aside, the classes taking turns: (those, the rest), both in their old order.

    Nothing is drawn: the defender and the attacker who agree on `count` share no sample. Where the stored samples of a
    class stand in groups of near-duplicates (the frames of one traffic sign), at most one group of each class is torn.
    """
    if not 0 <= count <= len(samples):
        raise BadArgument(f"count must be between 0 and {len(samples)} (all of {samples.name}), got {count}")
    groups = samples.groups
    turn = torch.empty_like(groups)
    for value in groups.unique():
        members = groups == value
        turn[members] = torch.arange(int(members.sum()))
    order = turn.argsort(stable=True)
    return samples.subset(order[:count].sort().values), samples.subset(order[count:].sort().values)


def _of_each_tag(samples: Samples, per_class: int, generator: torch.Generator) -> Tensor:
    """Positions such that so many samples have each tag that occurs: drawn tag by tag, the rarest first."""
    having = [(tag == 1).nonzero().flatten() for tag in samples.present.unbind(1)]
    taken = torch.zeros(len(samples), dtype=torch.bool)
    for members in sorted(filter(len, having), key=len):
        lacking = per_class - int(taken[members].sum())
        fresh = members[~taken[members]]
        if lacking > len(fresh):
            raise BadData(
                f"{per_class} samples of each class were asked for, but one has {len(members)}; ask for at most that"
            )
        if lacking > 0:
            taken[fresh[torch.randperm(len(fresh), generator=generator)[:lacking]]] = True
    return taken.nonzero().flatten()


def _spread(samples: Samples, count: int, generator: torch.Generator) -> Tensor:
    """Positions of `count` samples; classes that run out leave their share to the others."""
    if not 1 <= count <= len(samples):
        raise BadArgument(f"count must be between 1 and {len(samples)} (all of {samples.name}), got {count}")
    values, counts = torch.unique(samples.groups, return_counts=True)
    shares = torch.zeros_like(counts)
    while (left := count - int(shares.sum())) > 0:
        open_ = (shares < counts).nonzero().flatten()
        if left >= len(open_):
            shares[open_] = torch.minimum(shares[open_] + left // len(open_), counts[open_])
        else:
            shares[open_[torch.randperm(len(open_), generator=generator)[:left]]] += 1
    return _draw(samples.groups, values, shares, generator)


def _draw(labels: Tensor, values: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    parts = []
    for value, share in zip(values, shares.tolist(), strict=True):
        positions = (labels == value).nonzero().flatten()
        parts.append(positions[torch.randperm(len(positions), generator=generator)[:share]])
    return torch.cat(parts).sort().values if parts else torch.empty(0, dtype=torch.int64)


def _title(label: int, class_names: Sequence[str]) -> str:
    return f"class {label} ({class_names[label]})" if label < len(class_names) else f"class {label}"


def _first(items: list[str], limit: int = 3) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
