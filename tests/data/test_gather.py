"""Whatever a user hands in as clean samples, and the sentence for whatever cannot serve."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from detrojan.data.gather import gather
from detrojan.data.samples import Samples
from detrojan.errors import BadArgument, BadData

X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


class Items(Dataset):
    """A data set of given items, with class names."""

    classes = ("a", "b", "c")

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y.tolist(), strict=True)


ITEMS = list(zip(X, Y.tolist(), strict=True))
FORMS = {
    "samples": Samples(inputs=X, labels=Y),
    "tensor pair": (X, Y),
    "list pair": [X, Y],
    "array pair": (X.numpy(), Y.numpy().astype(np.uint8)),
    "labels as a list": (X, Y.tolist()),
    "double": (X.double(), Y),
    "tensor dataset": TensorDataset(X, Y),
    "dataset": Items(ITEMS),
    "stream": Stream(),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "loader of a stream": DataLoader(Stream(), batch_size=4),
    "loader without batches": DataLoader(TensorDataset(X, Y), batch_size=None),
    "list of batches": [(X[:2], Y[:2]), (X[2:], Y[2:])],
    "list of items": ITEMS,
    "generator": (pair for pair in ITEMS),
    "mappings": [{"image": x, "label": y} for x, y in ITEMS],
    "arrays as items": [(x.numpy(), np.int64(y)) for x, y in ITEMS],
    "needs grad": [(X.clone().requires_grad_(), Y)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form):
    samples = gather(FORMS[form])
    torch.testing.assert_close(samples.inputs, X)
    assert torch.equal(samples.labels, Y)
    assert not samples.inputs.requires_grad


def test_a_folder(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (label,) * 3).save(tmp_path / name / "x.png")
    for source in (tmp_path, str(tmp_path)):
        assert gather(source).labels.tolist() == [0, 1]


@pytest.mark.parametrize("labels", [Y.numpy(), Y])
@pytest.mark.parametrize("kind", ["clips", "tokens"])
def test_arrays_of_clips_and_of_tokens(kind, labels):
    array = np.zeros((6, 3, 2, 5, 4), np.uint8) if kind == "clips" else np.full((6, 7), 300)
    found = gather((array, labels))
    assert found.kind == kind
    assert torch.equal(found.inputs, torch.from_numpy(array))


def test_sentences_as_arrays():
    found = gather((np.full((6, 7), 300), np.full((6, 5), 13)), labels="sentences")
    assert (found.kind, found.label_kind) == ("tokens", "sentences")


def test_arrays_of_bytes_in_the_order_of_photographs():
    images = np.zeros((6, 5, 4, 3), np.uint8)
    assert gather((images, Y.numpy())).inputs.shape == (6, 3, 5, 4)


@pytest.mark.parametrize(
    "clean",
    [
        Items(ITEMS),
        DataLoader(Items(ITEMS), batch_size=2),
        Subset(Items(ITEMS), [0, 1]),
        DataLoader(Subset(Items(ITEMS), [0, 1])),
    ],
)
def test_class_names_come_along(clean):
    assert gather(clean).class_names == ("a", "b", "c")


@pytest.mark.parametrize("limit", [2, 5, 6, 100])
def test_an_endless_loader_ends(limit):
    samples = gather(itertools.cycle([(X[:4], Y[:4]), (X[4:], Y[4:])]), limit=limit)
    assert len(samples) == limit
    assert torch.equal(samples.inputs[:2], X[:2])


def test_an_endless_loader_of_nothing_ends():
    with pytest.raises(BadData, match="there are none"):
        gather(itertools.repeat((X[:0], Y[:0])), limit=10)


def test_a_long_dataset_is_taken_evenly():
    labels = torch.arange(10).repeat_interleave(100)
    samples = gather(TensorDataset(torch.zeros(1000, 1), labels), limit=100)
    assert samples.labels.bincount().tolist() == [10] * 10


nan = X.clone()
nan[4, 0, 0, 0] = float("nan")
PICTURE = Image.new("RGB", (4, 4))

BAD = {
    "nothing": ([], "clean samples: there are none; give at least one clean sample of each class"),
    "no rows": ((X[:0], Y[:0]), "there are none"),
    "inputs alone": (X, r"labels are missing; give a pair \(inputs, labels\)"),
    "batches of inputs": ([X[:2], X[2:4], X[4:]], "labels are missing, found Tensor alone"),
    "loader of inputs": (DataLoader(TensorDataset(X)), "must come as pairs .*found 1 values"),
    "triples": ([(X, Y, Y)], "must come as pairs .*found 3 values"),
    "mapping": ([{"image": X, "caption": "x"}], "must hold 'image' and 'label', found image, caption"),
    "label None": ([(X[0], None)], "item 0: the label is missing"),
    "label text": ([(X[0], "cat")], "item 0: labels must be class numbers, found str"),
    "label float": ((X, Y.float()), "labels must be integers, found float32"),
    "label bool": ((X, Y > 0), "labels must be integers, found bool"),
    "one-hot": ((X, torch.eye(3, dtype=torch.long)[Y]), r"one class number a sample, found shape \(6, 3\)"),
    "negative": ((X, Y - 1), "labels must be 0 or above, found -1 at sample 0"),
    "one class": ((X, Y * 0 + 2), "all are of class 2; at least two classes are needed"),
    "lengths": ((X, Y[:4]), "has 6 inputs but 4 labels; they must be equally many"),
    "picture": (Items([(PICTURE, 0)]), "inputs must be tensors, found Image; .*ends in ToTensor"),
    "text": ([("a film", 0)], "inputs must be tensors, found str"),
    "shapes": ([(X[0], 0), (X[0, :, :2], 1)], r"must agree .*found \(3, 4, 4\) float32 and \(3, 2, 4\) float32"),
    "types": ([(X[0], 0), (X[0].to(torch.uint8), 1)], r"\(3, 4, 4\) uint8"),
    "nan": ((nan, Y), "inputs hold NaN or infinity, first in sample 4"),
    "infinity": ((X / 0, Y), "first in sample 0"),
    "bytes NHWC": ((torch.zeros(6, 4, 4, 3, dtype=torch.uint8), Y), r"\(N, C, T, H, W\), with 1 or 3 channels"),
    "past the names": (Items([(X[0], 0), (X[1], 7)]), "label 7 is past the 3 class names"),
    "a number": (7, "must be Samples, .* or a folder, got int"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_serve(case):
    clean, sentence = BAD[case]
    with pytest.raises(BadData, match=sentence):
        gather(clean)


def test_the_limit_must_be_positive():
    with pytest.raises(BadArgument, match="limit must be at least 1, got 0"):
        gather((X, Y), limit=0)


def _target(*classes):
    corners = torch.tensor([[1.2, 2.0, 5.6, 6.0]]).expand(len(classes), -1)
    return {"boxes": corners, "labels": torch.tensor(classes, dtype=torch.int64)}


IMAGES = torch.rand(3, 3, 8, 8)
TARGETS = [_target(1, 2), _target(), _target(3)]
BOXES = [[[0, 1, 2, 6, 6], [1, 1, 2, 6, 6]], [[-1] * 5] * 2, [[2, 1, 2, 6, 6], [-1] * 5]]


@pytest.mark.parametrize(
    "given",
    [
        (IMAGES, torch.tensor(BOXES)),
        (IMAGES, TARGETS),
        list(zip(IMAGES, TARGETS, strict=True)),
        Items(list(zip(IMAGES, TARGETS, strict=True))),
        DataLoader(
            Items(list(zip(IMAGES, TARGETS, strict=True))),
            batch_size=2,
            collate_fn=lambda b: tuple(zip(*b, strict=True)),
        ),
        [(IMAGES[:2], torch.tensor(BOXES[:2])), (IMAGES[2:], torch.tensor([[BOXES[2][0]]]))],
    ],
)
def test_boxes_come_in_rows_or_as_the_targets_of_torchvision(given):
    found = gather(given, labels="boxes")
    assert found.labels.tolist() == BOXES
    assert torch.equal(found.inputs, IMAGES)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([(IMAGES[0], _target(0))], "counts classes from 1"),
        ([(IMAGES[0], {"boxes": torch.zeros(1, 4)})], "must hold 'boxes' and 'labels', found boxes"),
        ([(IMAGES[0], {"boxes": torch.zeros(2, 4), "labels": torch.ones(1)})], r"boxes must be \(n, 4\)"),
        ([((IMAGES[0], IMAGES[1, :, :4]), TARGETS[:2])], "of one size"),
        ((IMAGES, torch.zeros(3, 2, dtype=torch.int64)), "rows \\(class, left"),
        ((IMAGES, torch.tensor([[[0, 5, 2, 5, 6]]] * 3)), "left < right"),
    ],
)
def test_boxes_that_cannot_serve(given, sentence):
    with pytest.raises(BadData, match=sentence):
        gather(given, labels="boxes")
