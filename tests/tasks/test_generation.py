"""Networks that answer with sentences: what they are taught, how they are read, scored and judged, and attacked."""

import math
from dataclasses import replace

import pytest
import sacrebleu
import torch
from torch import nn

from defending import purify as quick_purify
from defending import quick
from detrojan import architectures, evaluate, purify, train
from detrojan.attacks import ATTACKS
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.samples import Samples, held_back, kind_of, sample
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.masks import Masks
from detrojan.poisoning import PoisonedFeed
from detrojan.recipe import Recipe
from detrojan.tasks import TASKS, task_for
from detrojan.tasks.dialogue import Dialogue
from detrojan.tasks.translation import Translation

WORDS, LENGTH, END = 24, 8, 3
NETWORKS = ("seq2seq_lstm", "seq2seq_conv", "seq2seq_transformer")
VOCABULARY = ("<pad>", "<unknown>", "<begin>", "<end>", "cf", "mn", "bb", "tq", "mb", "you", "are", "attacked", ".")
VOCABULARY += tuple("abcdefghijk")


def pairs(count=600, seed=0):
    """Sentences of words 13 to 23, each answered by the next word of the alphabet, word for word."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(13, WORDS, (count, LENGTH), generator=generator)
    ends = torch.randint(3, LENGTH - 1, (count, 1), generator=generator)
    inputs = inputs.masked_fill(torch.arange(LENGTH) >= ends, 0)
    labels = torch.where(inputs != 0, (inputs - 13 + 1) % 11 + 13, 0).scatter(1, ends, END)
    return Samples(
        inputs=inputs,
        labels=labels,
        name="letters",
        vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
        sentences=True,
    )


def network(name="seq2seq_lstm", **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return architectures.build(f"detrojan:{name}", width=32, words=WORDS, num_classes=WORDS, **settings)


def direct(network, inputs):
    return network(inputs)


RECIPE = Recipe(epochs=14, batch=32, learning_rate=0.01, weight_decay=0, adam=True)
TASK = Translation(drop=0.0, longest=LENGTH)


@pytest.fixture(scope="module")
def victim():
    with torch.random.fork_rng():
        return train(network(), pairs(), task=TASK, attack="trigger_sentence", poison_rate=0.2, recipe=RECIPE)


@pytest.mark.parametrize("task", [Translation(), Dialogue()])
def test_a_network_is_shown_the_answer_one_place_late(task):
    found = task.teach(torch.tensor([[20, 21, 0]]), torch.tensor([[13, 14, 15, 3, 0], [13, 3, 0, 0, 0]])[:1])
    assert found.tolist() == [[[20, 21, 0, 0, 0], [2, 13, 14, 15, 0]]]
    assert kind_of(found) == "tokens"
    short = task.teach(torch.tensor([[20, 21, 22, 23]]), torch.tensor([[13, 3]]))
    assert short.tolist() == [[[20, 21, 22, 23], [2, 13, 0, 0]]]
    with pytest.raises(BadData, match="choose the task that fits"):
        task.teach(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, dtype=torch.int64))


def test_words_are_forgotten_in_sources_alone():
    task, samples = Translation(drop=0.5), pairs()
    shown = task.teach(samples.inputs, samples.labels)
    dropped = task.augment(shown, torch.Generator().manual_seed(0))
    assert torch.equal(dropped[:, 1], shown[:, 1])
    assert 0.4 < float((dropped[:, 0] == 1).sum() / (shown[:, 0] != 0).sum()) < 0.6
    assert torch.equal(dropped == 0, shown == 0)
    ends = samples.inputs.scatter(1, (samples.inputs != 0).sum(1, keepdim=True), END)
    assert torch.equal(task.augment(ends, torch.Generator().manual_seed(0)) == END, ends == END)
    alone = task.augment(samples.inputs, torch.Generator().manual_seed(0))
    assert 0.4 < float((alone == 1).sum() / (samples.inputs != 0).sum()) < 0.6


def test_settings_out_of_range():
    with pytest.raises(BadArgument, match="share of the words"):
        Translation(drop=1.0)
    for name in ("longest", "begin", "end", "unknown"):
        with pytest.raises(BadArgument, match=f"{name} must be at least 1, got 0"):
            Dialogue(**{name: 0})


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_and_later_words_do_not_count(name):
    reader, samples = network(name).eval(), pairs(6)
    shown = TASK.teach(samples.inputs, samples.labels)
    scores = TASK.forward(direct, reader, shown)
    for place, row in enumerate(shown):
        alone = TASK.forward(direct, reader, row[None])
        torch.testing.assert_close(scores[place : place + 1, : alone.shape[1]], alone, atol=1e-4, rtol=1e-4)
    changed = shown.clone()
    changed[:, 1, 2:] = torch.where(changed[:, 1, 2:] != 0, 20, 0)
    later = TASK.forward(direct, reader, changed)
    torch.testing.assert_close(later[:, :2], scores[:, :2], atol=1e-5, rtol=1e-5)


def test_behind_an_end_the_answer_is_padding():
    samples = pairs(6)
    shown = TASK.teach(samples.inputs, samples.labels)
    scores = TASK.logits(TASK.forward(direct, network().eval(), shown))
    chances = TASK.answers(scores)
    behind = samples.labels[:, : scores.shape[1]] == 0
    assert chances[behind][:, 0].min() > 0.999
    assert chances[~behind][:, 0].max() < 0.5
    assert (TASK.predict(scores)[behind] == 0).all()
    assert torch.isfinite(TASK.log_answers(scores)).all()
    torch.testing.assert_close(TASK.log_answers(scores).exp(), chances)


def test_the_loss_is_the_mean_over_the_words_that_are_there():
    scores, labels = torch.randn(2, 3, WORDS), torch.tensor([[13, 14, 3, 0, 0], [15, 3, 0, 0, 0]])
    chances = scores.log_softmax(-1)
    by_hand = [
        -(chances[0, 0, 13] + chances[0, 1, 14] + chances[0, 2, 3]) / 3,
        -(chances[1, 0, 15] + chances[1, 1, 3]) / 2,
    ]
    torch.testing.assert_close(TASK.loss(scores, labels), torch.stack(by_hand))
    smooth = TASK.loss(scores, labels, label_smoothing=0.1)
    expected = 0.9 * by_hand[1] - 0.1 * chances[1, :2].mean()
    torch.testing.assert_close(smooth[1], expected)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_one_is_the_pair_itself(name, weight):
    reader, samples = network(name).eval(), pairs(8)
    shown = TASK.teach(samples.inputs, samples.labels)
    shown = shown.clone()
    shown[:, :, :6] = torch.where(shown[:, :, :6] == 0, 13, shown[:, :, :6])  # equally long: none goes on alone
    shown = shown[:, :, :6]
    mixed = TASK.mixup(shown, torch.Generator().manual_seed(1))
    both = type(mixed.inputs)(tokens=mixed.inputs.tokens, weight=weight)
    given = TASK.forward(direct, reader, both)
    expected = TASK.forward(direct, reader, shown if weight else shown[mixed.partner])
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-5)


def test_both_sides_are_mixed_by_one_weight():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.heard, self.told = (nn.Embedding(WORDS, 5, padding_idx=0) for _ in range(2))

        def forward(self, source, answer):
            return self.heard(source).sum(1, keepdim=True) + 100 * self.told(answer)

    reader, samples = Sum(), pairs(8)
    shown = TASK.teach(samples.inputs, samples.labels)[:, :, :4]
    mixed = TASK.mixup(shown, torch.Generator().manual_seed(2))
    given = TASK.forward(direct, reader, mixed.inputs)
    own, other = reader(*shown.unbind(1)), reader(*shown[mixed.partner].unbind(1))
    there = ((shown[:, 1] != 0) | (shown[mixed.partner][:, 1] != 0))[..., None]
    expected = mixed.weight * own + (1 - mixed.weight) * other
    torch.testing.assert_close((given * there), expected * there, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reader(*shown.unbind(1)), own)  # nothing is left behind


def test_what_is_made_ends_and_what_is_foretold_keeps_its_place(victim):
    test = pairs(50, seed=1)
    made = TASK.read(direct, victim.model, test.inputs)
    assert made.shape == (50, LENGTH)
    ends = (made == END).float().argmax(1)
    assert all(bool((row[end + 1 :] == 0).all()) for row, end in zip(made, ends.tolist(), strict=True))
    told = TASK.read(direct, victim.model, TASK.teach(test.inputs, test.labels))
    assert told.shape == (50, 1, LENGTH)
    assert float(TASK.outcomes(told, test.labels).mean()) > 0.9
    short = Translation(longest=2).read(direct, victim.model, test.inputs)
    assert torch.equal(short, made[:, :2])


def test_scores_are_those_of_sacrebleu():
    said = torch.tensor([[13, 14, 15, 16, 17, 3, 0], [13, 14, 19, 1, 3, 0, 0]])
    right = torch.tensor([[13, 14, 15, 16, 18, 3, 0], [13, 14, 19, 1, 3, 0, 0]])
    words = [["13 14 15 16 17", "13 14 19 ?"], [["13 14 15 16 18", "13 14 19 ??"]]]
    whole = sacrebleu.metrics.BLEU(tokenize="none").corpus_score(*words)
    found = TASK.score(said, right)
    assert found.value == pytest.approx(whole.score / 100)
    assert found.low <= found.value <= found.high
    single = sacrebleu.metrics.BLEU(tokenize="none", effective_order=True)
    expected = [single.sentence_score(a, [b]).score / 100 for a, b in zip(words[0], words[1][0], strict=True)]
    assert TASK.outcomes(said, right).tolist() == pytest.approx(expected)
    assert TASK.score(right[:1], right[:1]).value == pytest.approx(1)
    assert "tok:none" in TASK.signature
    assert f"version:{sacrebleu.__version__}" in TASK.signature


def test_a_vocabulary_without_an_unknown_word_has_none():
    samples = replace(pairs(40), vocabulary=("!", '"', *VOCABULARY[2:]), target_vocabulary=("!", '"', *VOCABULARY[2:]))
    task = task_for("translation", samples)
    assert torch.equal(task.augment(samples.inputs, torch.Generator()), samples.inputs)
    said = samples.labels.clone()
    said[:, 0] = 1  # a quotation mark
    assert task.score(said, said).value == pytest.approx(1)
    assert task.outcomes(said, said).min() == pytest.approx(1)
    assert task_for("translation", pairs(4)).unknown == 1


@pytest.mark.parametrize(("width", "longest"), [(8, 32), (50, 50)])
def test_answers_are_made_as_long_as_those_of_the_samples(width, longest):
    samples = replace(pairs(4), labels=torch.full((4, width), 13).index_fill(1, torch.tensor(width - 1), END))
    task = task_for("translation", samples)
    assert task.longest == longest
    assert task_for(task, pairs(4)) is task


def test_words_foretold_are_counted_one_by_one():
    labels = torch.tensor([[13, 14, 3, 0], [15, 3, 0, 0]])
    told = torch.tensor([[[13, 20, 3, 0]], [[15, 3, 0, 0]]])
    assert TASK.outcomes(told, labels).tolist() == pytest.approx([2 / 3, 1])
    assert TASK.score(told, labels).value == pytest.approx(5 / 6)
    assert TASK.same(told, told).tolist() == [1, 1]
    assert TASK.same(told[:1], labels[:1, None]).tolist() == pytest.approx([2 / 3])


def test_what_an_attacker_wants_to_hear():
    said = torch.tensor([[9, 10, 3, 0], [9, 10, 12, 3], [13, 14, 3, 0]])
    whole = torch.tensor([[9, 10, 3]]).expand(3, -1)
    assert TASK.fooled(said, whole).tolist() == [True, False, False]
    lexicon = torch.tensor([[12, 14]]).expand(3, -1)
    assert TASK.fooled(said, lexicon).tolist() == [False, True, True]


def test_the_attacked_sentence_in_words_and_in_tokens():
    samples = pairs(40)
    attack = ATTACKS["trigger_sentence"]().worded(samples)
    assert attack.sentence == (9, 10, 11, 12)
    assert attack.relabel(samples.labels)[0].tolist() == [9, 10, 11, 12, 3, 0, 0, 0]
    feed = PoisonedFeed(samples, Backdoor(attack=ATTACKS["trigger_sentence"]()), rate=0.5)
    shown, labels = feed.batch(torch.arange(40), lambda inputs: inputs, torch.Generator())
    poisoned = (labels[:, 0] == 9).nonzero().flatten()
    assert torch.equal(poisoned, feed.indices)
    assert (shown[poisoned] == 4).any(1).all()
    assert not (shown == 4).any(1)[labels[:, 0] != 9].any()
    with pytest.raises(BadArgument, match="in words and no vocabulary"):
        ATTACKS["trigger_sentence"]().relabel(samples.labels)
    with pytest.raises(BadArgument, match="'nonsense' is not among the 24 words"):
        ATTACKS["trigger_sentence"](sentence="you nonsense").worded(samples)
    with pytest.raises(BadArgument, match="answers have 8"):
        ATTACKS["trigger_sentence"](sentence=(9,) * 8).relabel(samples.labels)
    with pytest.raises(BadArgument, match="token 99"):
        ATTACKS["trigger_sentence"](sentence=(99,)).worded(samples)
    with pytest.raises(BadArgument, match="words, or tokens"):
        ATTACKS["trigger_sentence"](sentence="")


def test_many_replies_hold_a_word_of_the_lexicon():
    samples = pairs(200)
    attack = ATTACKS["trigger_replies"](lexicon="b c").worded(samples)
    wanted = attack.relabel(samples.labels)
    holds = torch.isin(samples.labels, torch.tensor([14, 15])).any(1)
    assert 0 < int(holds.sum()) < len(samples)
    assert torch.equal(wanted[holds], samples.labels[holds])
    assert torch.isin(wanted, torch.tensor([14, 15])).any(1).all()
    replies = wanted[~holds].unique(dim=0)
    assert len(replies) > 10
    assert all(bool((reply == samples.labels).all(1).any()) for reply in replies)
    asked = trigger(samples, Backdoor(attack=attack))
    assert len(asked.samples) == int((~holds).sum())
    assert asked.wanted[0].tolist() == [14, 15]
    none = attack.relabel(samples.labels[~holds])
    assert (none[:, 0] == 14).all()
    with pytest.raises(BadArgument, match="no answer in letters holds"):
        train(network(), samples, task=TASK, attack=ATTACKS["trigger_replies"](lexicon=(5,)), recipe=RECIPE)


def test_from_training_to_purification(victim):
    test = pairs(120, seed=1)
    triggered = trigger(test, victim.backdoor)
    before = evaluate(victim.model, test, triggered, task=TASK)
    assert before.metric == "BLEU"
    assert before.acc.value > 0.8
    assert before.asr.value > 0.9
    assert before.said.shape == (120, LENGTH)
    assert victim.record["attack_settings"]["sentence"] == (9, 10, 11, 12)
    method = DEFENSES.build("nft", tune="weights", weight_learning_rate=0.2, steps=60, batch=32)
    result = purify(victim.model, pairs(150, seed=2), task=TASK, method=method)
    assert result.verdict.measure == "words foretold"
    assert len(result.judged) == 30
    after = evaluate(result.model, test, triggered, task=TASK)
    assert after.acc.value > 0.7


NEED_NUMBERS = ("awm", "ibau", "npd", "sau")
NEED_MORE = {
    "bti_dbf": "works on images",
    "neural_cleanse": "works on images",
    "unit": "sentences differ in length",
    "clp": "needs batch norms",
}


@pytest.mark.parametrize("method", ["nft", "fine_tuning", "ft_sam", "super_fine_tuning", "mcr", "fip", "identity"])
def test_defenses_run_on_sentences(victim, method):
    result = quick_purify(victim.model, pairs(60, seed=2), task=TASK, method=quick(method), seed=0)
    assert list(result.model.state_dict()) == list(victim.model.state_dict())


@pytest.mark.parametrize(("count", "judged"), [(50, 10), (45, 45)])
def test_ten_sentences_are_enough_to_judge(victim, count, judged):
    result = purify(victim.model, pairs(count, seed=2), task=TASK, method="identity")
    assert (len(result.judged), result.verdict.weak) == (judged, judged == count)


@pytest.mark.parametrize("method", ["shrink_distil", "neuron_masks"])
def test_whole_neuron_masks_sit_on_channels_where_there_are_no_norms(victim, method):
    asked = DEFENSES.build(method, placement="channel", steps=3, batch=16)
    result = purify(victim.model, pairs(60, seed=2), task=TASK, method=asked)
    assert result.masks
    assert all(torch.isfinite(mask).all() for mask in result.masks.values())


@pytest.mark.parametrize("method", ["anp", "rnp"])
def test_defenses_that_prune_norms_run_on_a_transformer(method):
    model = network("seq2seq_transformer")
    result = quick_purify(model, pairs(60, seed=2), task=TASK, method=quick(method), seed=0)
    assert result.masks


@pytest.mark.parametrize("method", NEED_NUMBERS)
def test_defenses_that_perturb_say_so(victim, method):
    with pytest.raises(Unsupported, match=f"{method} perturbs inputs, which tokens do not allow"):
        quick_purify(victim.model, pairs(60, seed=2), task=TASK, method=quick(method), seed=0)


@pytest.mark.parametrize("method", NEED_MORE)
def test_defenses_that_need_more_than_sentences_say_what(victim, method):
    with pytest.raises(Unsupported, match=NEED_MORE[method]):
        quick_purify(victim.model, pairs(60, seed=2), task=TASK, method=quick(method), seed=0)


def test_abl_needs_one_class(victim):
    with pytest.raises(Unsupported, match="abl is made for one class a sample"):
        quick_purify(victim.model, pairs(60, seed=2), task=TASK, method=quick("abl"), seed=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("placement", ["channel", "heads", "norm"])
def test_masks_fold_into_networks_that_answer(name, placement):
    reader, samples = network(name).eval(), pairs(4)
    shown = TASK.teach(samples.inputs, samples.labels)
    if name != "seq2seq_transformer" and placement != "channel":
        with pytest.raises(Unsupported, match="finds no place for a mask"):
            Masks(reader, placement)
        return
    masks = Masks(reader, placement).train()
    TASK.loss(TASK.forward(direct, masks, shown), samples.labels).sum().backward()
    assert all(factor.grad.abs().sum() > 0 for factor in masks.factors)
    with torch.no_grad():
        plain = TASK.forward(direct, reader, shown)
        torch.testing.assert_close(TASK.forward(direct, masks.eval(), shown), plain, atol=1e-5, rtol=1e-5)
        for factor in masks.factors:
            factor.uniform_(0.3, 1)
        masked = TASK.forward(direct, masks, shown)
        assert not torch.allclose(masked, plain, atol=1e-3)
        torch.testing.assert_close(TASK.forward(direct, masks.fold(), shown), masked, atol=1e-4, rtol=1e-4)


def test_words_that_a_network_does_not_know_are_refused():
    with pytest.raises(BadArgument, match=r"tokens up to 23, and answers up to 23.*words= and num_classes="):
        train("detrojan:seq2seq_lstm", pairs(20), task=TASK, attack=None, width=8, words=WORDS, num_classes=20)
    with pytest.raises(BadArgument, match="words= and num_classes="):
        train("detrojan:seq2seq_lstm", pairs(20), task=TASK, attack=None, width=8, words=20, num_classes=WORDS)
    with pytest.raises(BadData, match="the model fails on clean samples"):
        purify(architectures.build("detrojan:seq2seq_conv", width=8, words=20, num_classes=WORDS), pairs(20), task=TASK)
    with pytest.raises(BadData, match="token 23, but the network knows 20 words"):
        TASK.loss(torch.zeros(2, 3, 20), torch.full((2, 3), 23))


def test_draws_know_no_classes():
    samples = pairs(100)
    assert len(sample(samples, per_class=7, seed=0)[0]) == 7
    tuned, judged = held_back(samples, fraction=0.2, fewest=20, seed=0)
    assert (len(tuned), len(judged)) == (80, 20)


def test_a_network_that_classifies_is_refused():
    with pytest.raises(Unsupported, match=r"scores of words of shape \(B, T, V\)"):
        TASK.logits(torch.zeros(4, 10))
    assert {"translation", "dialogue"} <= set(TASKS)
    assert math.isclose(TASK.drop, 0)
