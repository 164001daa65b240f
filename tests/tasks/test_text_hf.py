"""Networks of transformers that classify sentences: padding, MixUp of embeddings, training, purification."""

from dataclasses import replace

import pytest
import torch

from detrojan import architectures, purify, train
from detrojan.data.numbering import numbering_of
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import Unsupported
from detrojan.recipe import Recipe
from detrojan.tasks.text import Text
from hugging import TOWERS

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


ROW = {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 39, "eos_token_id": 39}
WITH_ENDS = {"pad_token_id": 1, "eos_token_id": 2}


def built(name, config, settings, folder):
    transformers = pytest.importorskip("transformers")
    made = getattr(transformers, config)(vocab_size=WORDS, num_labels=2, architectures=[name], **settings)
    made.save_pretrained(folder)
    return architectures.build(f"hf:{folder}").eval()


@pytest.mark.parametrize("pad", [0, 39])
@torch.no_grad()
def test_padding_that_is_the_end_as_well_does_not_count(pad, tmp_path):
    network = built("GPT2ForSequenceClassification", "GPT2Config", ROW | {"pad_token_id": pad}, tmp_path)
    samples, task = sentences(4), Text()
    scores = task.logits(task.forward(direct, network, samples.inputs))
    for place, row in enumerate(samples.inputs):
        alone = network(numbering_of(network.config).own(row[row != 0])[None]).logits
        torch.testing.assert_close(scores[place : place + 1], alone, atol=1e-4, rtol=1e-4)


def test_a_network_that_knows_no_padding_is_refused(tmp_path):
    network = built("GPT2ForSequenceClassification", "GPT2Config", ROW | {"pad_token_id": None}, tmp_path)
    with pytest.raises(Unsupported, match=r"refuses these sentences .*no padding token.*set `pad_token_id`"):
        purify(network, sentences(), task="text", method="identity")


def test_a_network_that_classifies_at_the_end_needs_one_end(tmp_path):
    network = built("BartForSequenceClassification", "BartConfig", TOWERS | WITH_ENDS, tmp_path)
    samples = sentences()
    with pytest.raises(Unsupported, match=r"refuses these sentences .*`tokenizer` of the data set"):
        purify(network, samples, task="text", method="identity")
    last = (samples.inputs != 0).sum(1, keepdim=True) - 1
    whole = replace(samples, inputs=samples.inputs.scatter(1, last, 3))
    tuning = DEFENSES.build("fine_tuning", steps=3, batch=8)
    assert purify(network, whole, task="text", method=tuning, tolerance=1.0).losses
    with pytest.raises(Unsupported, match=r"two that MixUp mixes end at two places; use fine_tuning"):
        purify(network, whole, task="text", method=DEFENSES.build("nft", steps=3, batch=8))
