"""Networks of transformers that answer: two towers (Marian, T5, Bart) and one row of words (GPT-2, Llama)."""

from inspect import signature

import pytest
import torch

from detrojan import architectures, purify
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.masks import Masks
from detrojan.tasks.translation import Translation
from hugging import T5, TOWERS

WORDS, END = 40, 3
TASK = Translation(drop=0.0, longest=6)
NETWORKS = {
    "MarianMTModel": ("MarianConfig", TOWERS | {"pad_token_id": 39, "eos_token_id": 0, "decoder_start_token_id": 39}),
    "BartForConditionalGeneration": ("BartConfig", TOWERS | {"pad_token_id": 1, "eos_token_id": 2}),
    "T5ForConditionalGeneration": (
        "T5Config",
        T5,
    ),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}),
    "LlamaForCausalLM": (
        "LlamaConfig",
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "pad_token_id": 0,
        },
    ),
}

OWN = {
    "MarianMTModel": [39, 1, 2, 0, *range(4, 39), 3],
    "BartForConditionalGeneration": [1, 0, 3, 2, *range(4, 40)],
    "T5ForConditionalGeneration": [0, 3, 2, 1, *range(4, 40)],
    "GPT2LMHeadModel": [39, *range(1, 39), 0],
    "LlamaForCausalLM": [0, 1, 3, 2, *range(4, 40)],
}
"""The network's own number of each stored token: its padding at 0, its end at 3, and who was there in their place."""


@pytest.fixture(params=NETWORKS)
def network(request, tmp_path):
    transformers = pytest.importorskip("transformers")
    config, settings = NETWORKS[request.param]
    made = getattr(transformers, config)(vocab_size=WORDS, architectures=[request.param], **settings)
    made.save_pretrained(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return architectures.build(f"hf:{tmp_path}").eval()


def direct(network, inputs):
    return network(inputs)


def pairs(count=4, *, full=False):
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randint(4, 39, (2, count, 6), generator=generator).unbind(0)
    ends = torch.full((count, 1), 5) if full else torch.randint(2, 6, (count, 1), generator=generator)
    labels = labels.masked_fill(torch.arange(6) >= ends, 0).scatter(1, ends, END)
    inputs = inputs if full else inputs.masked_fill(torch.arange(6) > ends, 0)
    return Samples(inputs=inputs, labels=labels, sentences=True, name="pairs")


@torch.no_grad()
def test_padding_and_later_words_do_not_count(network):
    samples = pairs()
    shown = TASK.teach(samples.inputs, samples.labels)
    scores = TASK.forward(direct, network, shown)
    assert scores.shape == (4, 6, WORDS)
    for place, row in enumerate(shown):
        alone = TASK.forward(direct, network, row[None])
        torch.testing.assert_close(scores[place : place + 1, : alone.shape[1]], alone, atol=1e-4, rtol=1e-4)
    changed = shown.clone()
    changed[:, 1, 2:] = torch.where(changed[:, 1, 2:] != 0, 20, 0)
    torch.testing.assert_close(TASK.forward(direct, network, changed)[:, :2], scores[:, :2], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_words_are_renumbered(network):
    """What the network itself says to its own numbers is what the task reads: 0 is padding, 3 ends an answer."""
    samples = pairs(1, full=True)
    shown = TASK.teach(samples.inputs, samples.labels)
    scores = TASK.forward(direct, network, shown)
    order = OWN[type(network).__name__]
    assert sorted(order) == list(range(WORDS))
    own = torch.tensor(order)
    source, answer, config = own[shown[:, 0]], own[shown[:, 1]], network.config
    if "decoder_input_ids" in signature(network.forward).parameters:
        answer[:, 0] = config.decoder_start_token_id
        given = network(input_ids=source, decoder_input_ids=answer).logits
    else:
        if config.bos_token_id < WORDS:
            answer[:, 0] = config.bos_token_id
        given = network(input_ids=torch.cat([source, answer], 1)).logits[:, 6:]
    torch.testing.assert_close(scores, given[..., own], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_mixing_with_all_the_weight_is_the_pair_itself(network):
    samples = pairs(6, full=True)
    shown = TASK.teach(samples.inputs, samples.labels)
    mixed = TASK.mixup(shown, torch.Generator().manual_seed(1))
    for weight, expected in ((1.0, shown), (0.0, shown[mixed.partner])):
        both = type(mixed.inputs)(tokens=mixed.inputs.tokens, weight=weight)
        given = TASK.forward(direct, network, both)
        torch.testing.assert_close(given, TASK.forward(direct, network, expected), atol=1e-4, rtol=1e-4)
    half = TASK.forward(direct, network, type(mixed.inputs)(tokens=mixed.inputs.tokens, weight=0.5))
    assert not torch.allclose(half, TASK.forward(direct, network, shown), atol=1e-3)


@torch.no_grad()
def test_sentences_are_made_word_by_word(network):
    samples = pairs()
    made = TASK.read(direct, network, samples.inputs)
    assert made.shape == (4, 6)
    scores = TASK.forward(direct, network, TASK.teach(samples.inputs, made))
    told = scores[..., 1:].argmax(-1) + 1  # padding is never said
    there = made[:, : told.shape[1]] != 0
    assert torch.equal(told[there], made[:, : told.shape[1]][there])


@pytest.mark.parametrize("placement", ["auto", "heads", "norm"])
def test_masks_fold_into_them(network, placement):
    samples = pairs()
    shown = TASK.teach(samples.inputs, samples.labels)
    masks = Masks(network, placement).eval()
    with torch.no_grad():
        plain = TASK.forward(direct, network, shown)
        torch.testing.assert_close(TASK.forward(direct, masks, shown), plain, atol=1e-4, rtol=1e-4)
        for factor in masks.factors:
            factor.uniform_(0.3, 1)
        masked = TASK.forward(direct, masks, shown)
        assert not torch.equal(masked, plain)
        torch.testing.assert_close(TASK.forward(direct, masks.fold(), shown), masked, atol=1e-4, rtol=1e-4)


def test_they_are_purified(network):
    method = DEFENSES.build("nft", steps=2, batch=4, count="block")
    result = purify(network, pairs(8), task=TASK, method=method)
    assert result.masks
    assert list(result.model.state_dict()) == list(network.state_dict())
