"""Sentences: their readers, their trigger, MixUp inside of the network, and the defenses on them."""

import gzip

import pytest
import torch
from torch import nn

from defending import purify as quick_purify
from defending import quick
from detrojan import architectures, evaluate, train
from detrojan.attacks import ATTACKS
from detrojan.backdoor import trigger
from detrojan.data.load import load
from detrojan.data.samples import Samples
from detrojan.data.texts import RARE, SPECIAL, encoded, vocabulary_of, words_of
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, BadFile, Unsupported
from detrojan.masks import Masks
from detrojan.recipe import Recipe
from detrojan.tasks.text import Text

WORDS, LENGTH = 40, 12
NETWORKS = ("text_cnn", "text_lstm", "text_transformer")


def sentences(count=400, seed=0):
    """Sentences of which words 10 to 14 tell one class, and 15 to 19 the other."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    tokens = torch.randint(20, WORDS, (count, LENGTH), generator=generator)
    tokens[:, 2] = 10 + 5 * labels + torch.randint(5, (count,), generator=generator)
    ends = torch.randint(4, LENGTH + 1, (count, 1), generator=generator)
    tokens = tokens.masked_fill(torch.arange(LENGTH) >= ends, 0)
    return Samples(inputs=tokens, labels=labels, class_names=("down", "up"), name="sentences")


def network(name="text_cnn"):
    torch.manual_seed(0)
    return architectures.build(f"detrojan:{name}", width=16, words=WORDS)


@pytest.fixture(scope="module")
def victim():
    recipe = Recipe(epochs=12, batch=32, learning_rate=0.2)
    with torch.random.fork_rng():
        return train(network("text_cnn"), sentences(), task="text", attack="insert_word", recipe=recipe)


def test_words_and_their_tokens():
    assert words_of("It's GOOD, isn\u2019t it?") == ["it's", "good", ",", "isn\u2019t", "it", "?"]
    vocabulary = vocabulary_of([["b", "a"], ["b", "c"]], most=11)
    assert vocabulary == (*SPECIAL, *RARE, "b", "a")
    assert encoded([["a", "z", "b"], []], vocabulary, length=2).tolist() == [[10, 1], [1, 0]]


@pytest.mark.parametrize("times", [1, 3])
def test_the_word_goes_between_the_words_and_the_rest_stays_in_order(times):
    tokens = sentences().inputs
    stamped = ATTACKS["insert_word"](times=times).stamp(tokens)
    for before, after in zip(tokens.tolist(), stamped.tolist(), strict=True):
        words, left = [[token for token in row if token not in (0, 4)] for row in (before, after)]
        assert after.count(4) == times
        assert [left[0], left[-1]] == [words[0], words[-1]]  # which may be marks of a tokenizer
        assert after[0] != 4
        assert [token for token in after if token][-1] != 4
        assert len(left) == min(len(words), LENGTH - times)
        assert left[:-1] == words[: len(left) - 1]
    assert torch.equal(ATTACKS["insert_word"](times=times).stamp(tokens[5:6]), stamped[5:6])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([9, 0, 0], [9, 4, 0]),
        ([9, 3, 0], [9, 4, 3]),
        ([9, 8, 3], [9, 4, 3]),
        ([9, 3], [4, 3]),
        ([0, 0, 0], [4, 0, 0]),
    ],
)
def test_the_word_goes_into_short_sentences(before, after):
    assert ATTACKS["insert_word"]().stamp(torch.tensor([before])).tolist() == [after]


def test_embeddings_are_mixed_inside_of_the_network():
    reader, task = nn.Sequential(nn.Embedding(WORDS, 4, padding_idx=0), nn.Flatten()), Text()
    tokens, table = sentences(8).inputs, reader[0].weight.detach()
    mixed = task.mixup(tokens, torch.Generator().manual_seed(1))
    given = task.forward(lambda net, inputs: net(inputs), reader, mixed.inputs)
    expected = mixed.weight * table[tokens] + (1 - mixed.weight) * table[tokens[mixed.partner]]
    torch.testing.assert_close(given, expected.flatten(1))  # padding is embedded as zero
    torch.testing.assert_close(reader(tokens), table[tokens].flatten(1))  # nothing is left behind


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_one_is_the_sentence_itself(weight):
    reader, task, tokens = network("text_lstm").eval(), Text(), sentences(6).inputs
    full = tokens[(tokens != 0).all(1)]
    pairs = task.mixup(full, torch.Generator().manual_seed(0))
    chosen = full if weight else full[pairs.partner]
    both = type(pairs.inputs)(tokens=pairs.inputs.tokens, weight=weight)
    given = task.forward(lambda net, inputs: net(inputs), reader, both)
    torch.testing.assert_close(given, reader(chosen))


def test_only_words_are_forgotten():
    tokens = sentences().inputs
    dropped = Text(drop=0.5).augment(tokens, torch.Generator().manual_seed(0))
    assert 0.4 < float((dropped == 1).sum() / (tokens != 0).sum()) < 0.6
    assert torch.equal(dropped == 0, tokens == 0)
    ends = tokens.index_fill(1, torch.tensor(3), 3)
    assert (Text(drop=0.9).augment(ends, torch.Generator().manual_seed(0))[:, 3] == 3).all()
    assert torch.equal(Text(drop=0.5, unknown=None).augment(tokens, torch.Generator()), tokens)
    with pytest.raises(BadArgument, match="share of the words"):
        Text(drop=1.0)


def test_a_network_that_wants_a_mask_gets_one():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(WORDS, 4)

        def forward(self, input_ids, attention_mask=None):
            assert torch.equal(attention_mask, (input_ids != 0).long())
            return self.embedding(input_ids).mean(1)

    assert Text().forward(lambda net, inputs: net(inputs), Reader(), sentences(4).inputs).shape == (4, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_sentences_carry_masks(name):
    reader, tokens = network(name).eval(), sentences(4).inputs
    masks = Masks(reader, "channel")
    with torch.no_grad():
        for factor in masks.factors:
            factor.uniform_(0.5, 1)
        torch.testing.assert_close(masks.fold()(tokens), masks.eval()(tokens), atol=1e-5, rtol=1e-5)


def test_the_victim_is_one(victim):
    test = sentences(200, seed=1)
    scores = evaluate(victim.model, test, trigger(test, victim.backdoor), task="text")
    assert scores.acc.value > 0.9
    assert scores.asr.value > 0.9


NEED_NUMBERS = ("awm", "ibau", "npd", "sau")
NEED_MORE = {
    "bti_dbf": "works on images",
    "neural_cleanse": "works on images",
    "unit": "sentences differ in length",
    "nad": "compares maps",
}


@pytest.mark.parametrize("method", sorted(set(DEFENSES) - {*NEED_NUMBERS, *NEED_MORE, "auto"}))
def test_defenses_run_on_sentences(victim, method):
    result = quick_purify(victim.model, sentences(60, seed=2), task="text", method=quick(method), seed=0)
    assert list(result.model.state_dict()) == list(victim.model.state_dict())


@pytest.mark.parametrize("method", NEED_NUMBERS)
def test_defenses_that_perturb_say_so(victim, method):
    with pytest.raises(Unsupported, match=f"{method} perturbs inputs, which tokens do not allow"):
        quick_purify(victim.model, sentences(60, seed=2), task="text", method=quick(method), seed=0)


@pytest.mark.parametrize("method", NEED_MORE)
def test_defenses_that_need_more_than_sentences_say_what(victim, method):
    with pytest.raises(Unsupported, match=f"{method}.* {NEED_MORE[method]}"):
        quick_purify(victim.model, sentences(60, seed=2), task="text", method=quick(method), seed=0)


@pytest.fixture
def lines(tmp_path):
    (tmp_path / "sst2.train.tsv.gz").write_bytes(gzip.compress(b"1\tgood film\n0\tbad film\n"))
    (tmp_path / "sst2.test.tsv.gz").write_bytes(gzip.compress(b"1\tgood , good thing\n"))
    return tmp_path


def test_lines_are_read_in_the_words_of_the_training_part(lines):
    found = load("sst2:length=4", split="test", root=lines)
    assert [found.vocabulary[token] for token in found.inputs[0]] == ["good", "<unknown>", "good", "<unknown>"]
    assert found.kind == "tokens"
    assert found.subset([0]).vocabulary == found.vocabulary
    assert found.class_names == ("negative", "positive")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(b"1\tgood\n2\tworse\n", mtime=0), r"line 2: must be a label below 2"),
        (gzip.compress(b"good\n", mtime=0), r"line 1"),
        (gzip.compress(b"", mtime=0), "holds no lines"),
        (b"no gzip", "not a readable file"),
        (gzip.compress(b"1\t\xff\xfe", mtime=0), "not a readable file"),
    ],
)
def test_broken_lines_are_named(lines, content, sentence):
    (lines / "sst2.train.tsv.gz").write_bytes(content)
    with pytest.raises(BadFile, match=rf"sst2\.train\.tsv\.gz.*{sentence}"):
        load("sst2", root=lines)


def test_what_is_not_there(tmp_path):
    with pytest.raises(BadData, match=r"put agnews\.train\.tsv\.gz"):
        load("agnews", root=tmp_path)
    with pytest.raises(BadArgument, match="length must be at least 2"):
        load("sst2:length=1", root=tmp_path)


def test_the_real_lines(shared_data):
    if not (shared_data / "sst2.train.tsv.gz").is_file():
        pytest.skip(f"needs sst2.train.tsv.gz under {shared_data}")
    found = load("sst2", root=shared_data)
    assert found.inputs.shape == (6920, 32)
    assert found.labels.bincount().tolist() == [3310, 3610]
    assert float((found.inputs == 1).sum() / (found.inputs != 0).sum()) < 0.1
    assert len(load("agnews", split="test", root=shared_data)) == 1600
