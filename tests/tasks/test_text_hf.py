"""Networks of transformers that classify sentences: padding, MixUp of embeddings, training, purification."""

import pytest
import torch

from detrojan import architectures, purify, train
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.tasks.text import Text
from detrojan.training import Recipe

WORDS, LENGTH = 40, 8
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
NETWORKS = {
    "BertForSequenceClassification": ("BertConfig", SMALL | {"max_position_embeddings": 16}),
    "RobertaForSequenceClassification": ("RobertaConfig", SMALL | {"max_position_embeddings": 16, "pad_token_id": 0}),
    "DistilBertForSequenceClassification": (
        "DistilBertConfig",
        {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2},
    ),
    "ElectraForSequenceClassification": ("ElectraConfig", SMALL | {"embedding_size": 16}),
}


@pytest.fixture(params=NETWORKS)
def folder(request, tmp_path):
    transformers = pytest.importorskip("transformers")
    config, settings = NETWORKS[request.param]
    made = getattr(transformers, config)(vocab_size=WORDS, num_labels=2, architectures=[request.param], **settings)
    made.save_pretrained(tmp_path)
    return f"hf:{tmp_path}"


def sentences(count=64):
    """Of class 1 are those that hold word 20."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(21, WORDS, (count, LENGTH), generator=generator)
    labels = torch.arange(count) % 2
    inputs[labels == 1, 2] = 20
    ends = torch.randint(4, LENGTH + 1, (count, 1), generator=generator)
    return Samples(inputs=inputs.masked_fill(torch.arange(LENGTH) >= ends, 0), labels=labels, name="sentences")


def direct(network, inputs):
    return network(inputs)


@torch.no_grad()
def test_padding_does_not_count(folder):
    network, samples, task = architectures.build(folder).eval(), sentences(4), Text()
    scores = task.logits(task.forward(direct, network, samples.inputs))
    for place, row in enumerate(samples.inputs):
        alone = task.logits(task.forward(direct, network, row[row != 0][None]))
        torch.testing.assert_close(scores[place : place + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_mixup_happens_among_the_embeddings(folder):
    network, samples, task = architectures.build(folder).eval(), sentences(8), Text()
    mixed = task.mixup(samples.inputs, torch.Generator().manual_seed(1))
    plain = task.logits(task.forward(direct, network, samples.inputs))
    blended = task.logits(task.forward(direct, network, mixed.inputs))
    moved = (blended - plain).abs().amax(1) > 1e-6
    apart = mixed.partner != torch.arange(8)
    assert moved[apart].all()


def test_victims_are_trained_and_purified(folder):
    samples = sentences()
    victim = train(
        folder,
        samples,
        task="text",
        attack="insert_word",
        recipe=Recipe(epochs=2, batch=16, adam=True, learning_rate=1e-3),
    )
    for method in ("nft", "fine_tuning", "shrink_distil"):
        settings = {"placement": "channel"} if method == "shrink_distil" else {}
        doing = DEFENSES.build(method, steps=2, batch=8, **settings)
        result = purify(victim.model, samples, task="text", method=doing, tolerance=1.0)
        assert list(result.model.state_dict()) == list(victim.model.state_dict())
        assert type(result.model) is type(victim.model)
