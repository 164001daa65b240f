"""Consistency and distil: what the copy is shown, what is kept, and that labels are not read."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from detrojan.augmentation import pixels_of
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.defenses import _bounded_sgd, _contradictions, consistency_distil
from detrojan.defenses._changes import Filter, Patch, Warp
from detrojan.defenses._company import company
from detrojan.defenses._contradictions import contradictions
from detrojan.defenses._smallest_changes import Changes
from detrojan.defenses.consistency_distil import ConsistencyDistil
from detrojan.errors import BadArgument, Unsupported
from detrojan.execution import Execution
from detrojan.randomness import Seeds
from detrojan.tasks import TASKS
from detrojan.tuning import Context, Meter


def context(model: nn.Module, task: str = "image") -> Context:
    return Context(
        task=TASKS.build(task),
        preprocessing=Preprocessing(),
        execution=Execution.choose(model, "cpu", "fp32"),
        seeds=Seeds(seed=0),
        meter=Meter().start(),
    )


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(64) % 4
    images[:, 0] = (labels * 80).to(torch.uint8)[:, None, None]
    return Samples(inputs=images, labels=labels)


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    ).eval()


def quick(**settings):
    few = {"steps": 5, "batch": 16, "strong_views": 30, "joined_views": 30, "search_steps": 3, "search_batch": 8}
    return ConsistencyDistil(**few | settings)


def views_of(victim, clean, *, strong=0, joined=0, mining=2.0, changes=None):
    asked = {"strong": strong, "joined": joined, "mining": mining, "changes": changes}
    return contradictions(victim, clean, context(victim), **asked)


def wanted(views):
    return views.wanted(torch.arange(len(views.inputs)))


def weights(model):
    return list(model.state_dict().values())


def test_labels_are_not_read(victim, clean):
    other = Samples(inputs=clean.inputs, labels=clean.labels.flip(0))
    first, second = (quick()(victim, s, context(victim)).model for s in (clean, other))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_weights_are_tuned_and_statistics_are_not(victim, clean):
    tuned = quick()(victim, clean, context(victim)).model
    assert not torch.equal(tuned[0].weight, victim[0].weight)
    assert torch.equal(tuned[1].running_mean, victim[1].running_mean)


def test_few_samples_move_weights_less(victim, clean):
    moved = []
    for enough in (1, 64, 640):
        tuned = quick(enough=enough, consistency=0.0)(victim, clean, context(victim)).model
        moved.append(float((tuned[5].weight - victim[5].weight).detach().norm()))
    assert moved[0] == moved[1]
    assert 0 < moved[2] < moved[1] / 2


def test_few_samples_weigh_views_less(victim, clean, monkeypatch):
    """A tenth of the samples that are enough is like a tenth of the weight of the views."""
    monkeypatch.setattr(_bounded_sgd, "LONGEST", 1e6)
    few = quick(enough=640, consistency=2.0, weight_learning_rate=0.0)(victim, clean, context(victim)).losses
    same = quick(enough=64, consistency=0.2, weight_learning_rate=0.0)(victim, clean, context(victim)).losses
    assert few == pytest.approx(same)


def test_without_a_rate_of_their_own_weights_stay(victim, clean):
    tuned = quick(weight_learning_rate=0.0)(victim, clean, context(victim)).model
    assert torch.equal(tuned[0].weight, victim[0].weight)
    assert not torch.equal(tuned[1].weight, victim[1].weight)


def test_a_network_without_norms_has_factors_on_its_channels(clean):
    bare = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).eval()
    assert [len(factors) for factors in quick()(bare, clean, context(bare)).masks.values()] == [16]
    with pytest.raises(Unsupported, match="finds no place for a mask"):
        quick(placement="neuron")(bare, clean, context(bare))


def test_strong_views_are_changed_and_want_the_answers_to_the_clean_images(victim, clean):
    views = views_of(victim, clean, strong=128)
    assert views.inputs.shape == (128, 3, 8, 8)
    assert views.inputs.dtype == torch.uint8
    assert not (views.inputs[:, None] == clean.inputs).flatten(2).all(2).any(1).all()
    with torch.no_grad():
        own = victim(pixels_of(clean.inputs)).softmax(1)
    apart = (wanted(views) - own).abs().amax(2)
    assert float(apart.amin(1).max()) < 1e-5
    assert apart.argmin(1).bincount(minlength=64).tolist() == [2] * 64


@pytest.fixture
def patches():
    """Black squares in a corner; class 2 is reached with oddly few pixels."""
    masks = torch.zeros(1, 5, 1, 8, 8)
    masks[:, :, :, :3, :3] = 1.0
    sizes = torch.tensor([0.2, 0.15, 0.01, 0.2, 0.3])
    kind = Patch(5, (3, 8, 8), (0.0, 1.0), torch.Generator())
    return Changes(kind=kind, states=[masks, torch.zeros(1, 5, 3, 8, 8)], reached=torch.ones(5), sizes=sizes)


def test_patches_are_laid_over_images_of_other_classes_and_shown_as_they_are(victim, clean, patches):
    views = views_of(victim, clean, strong=128, changes=patches)
    stamped = views.still.nonzero().flatten()
    assert 60 < len(stamped) < 128
    assert stamped.tolist() == list(range(128, 128 + len(stamped)))
    assert not bool(views.inputs[stamped][:, :, :3, :3].any())
    assert bool(views.inputs[:128][:, :, :3, :3].any(0).all())
    about, random = context(victim), torch.Generator().manual_seed(0)
    draws = [views.draw(50, about, random) for _ in range(4)]
    drawn, answers = (torch.cat(each) for each in zip(*draws, strict=True))
    black = ~drawn[:, :, :3, :3].flatten(1).any(1)
    assert float(black.float().mean()) == pytest.approx(_contradictions.TAKEN, abs=0.15)
    with torch.no_grad():
        own = victim(pixels_of(clean.inputs)).softmax(1)
    assert float((answers - own).abs().amax(2).amin(1).max()) < 1e-5


def test_what_sends_images_anywhere_else_is_laid_over_all_of_them(victim, clean, patches):
    away = replace(patches, reached=torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))
    maker = _contradictions._Maker(victim, clean, context(victim))
    made = maker.changed(away, 128, 2.0, share=0.8)
    assert 10 < len(made[0]) < 50
    assert len({len(each) for each in made}) == 1


def test_where_no_patch_is_odd_strong_views_stay(victim, clean, patches):
    sizes = torch.full((5,), 0.2)
    views = views_of(victim, clean, strong=128, changes=replace(patches, sizes=sizes))
    assert float(views.odds[views.still].sum()) < 0.03
    assert float(views.odds.sum()) == pytest.approx(1.0)
    few = replace(patches, reached=torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]))
    assert not bool(views_of(victim, clean, strong=128, changes=few).still.any())


def test_where_all_images_are_of_the_patches_class_none_is_shown(victim, clean, patches):
    with torch.no_grad():
        own = victim(pixels_of(clean.inputs)).argmax(1)
    alike = Samples(inputs=clean.inputs[own == own[0]], labels=clean.labels[own == own[0]])
    only = (torch.arange(5) == own[0]).float()
    maker = _contradictions._Maker(victim, alike, context(victim))
    made = maker.changed(replace(patches, reached=only), 20, 2.0, share=0.8)
    assert [len(each) for each in made] == [0, 0, 0, 0]


def test_an_odd_patch_makes_weights_move_faster_and_is_told(victim, clean, patches, monkeypatch):
    monkeypatch.setattr(consistency_distil, "seek", lambda *_, **__: [patches])
    moved = []
    for rate in (0.01, 0.05):
        tuned = quick(odd_learning_rate=rate)(victim, clean, context(victim))
        moved.append(float((tuned.model[5].weight - victim[5].weight).detach().norm()))
    assert moved[1] > 2 * moved[0]
    assert "class 2" in str(tuned.notes["smallest patch"])


@pytest.mark.parametrize("odd", [True, False])
def test_as_far_as_a_patch_is_odd_less_else_is_asked_for(victim, clean, patches, monkeypatch, odd):
    found = patches if odd else replace(patches, sizes=torch.full((5,), 0.2))
    monkeypatch.setattr(consistency_distil, "seek", lambda *_, **__: [found])
    plain = {"enough": 60, "enough_named": 60, "lost": 0.1, "lost_named": 0.1, "consistency": 4.0}
    last, moved = [], []
    for other in ({}, {"enough_named": 640, "lost_named": 0.5}, {"enough": 640, "lost": 0.5}):
        last.append(quick(**plain | other)(victim, clean, context(victim)).model[5].weight.detach())
        moved.append(float((last[-1] - last[0]).norm()))
    named, others = moved[1:] if odd else reversed(moved[1:])
    assert others < named / 10


@pytest.mark.parametrize("odd", [True, False])
def test_as_far_as_a_patch_is_odd_all_goes_back_a_part_of_its_way(victim, clean, patches, monkeypatch, odd):
    found = patches if odd else replace(patches, sizes=torch.full((5,), 0.2))
    monkeypatch.setattr(consistency_distil, "seek", lambda *_, **__: [found])
    asked = [quick(way_back=share, enough_named=128) for share in (0.0, 0.5, 1.0)]
    there, half, victims = (each(victim, clean, context(victim)) for each in asked)
    share = 0.5 * found.oddness
    for name, factor in there.masks.items():
        assert torch.allclose(half.masks[name], factor.lerp(torch.ones_like(factor), share), atol=1e-6)
    full, part, none = (each.model[5].weight.detach() for each in (there, half, victims))
    own = victim[5].weight.detach()
    if odd:
        assert found.oddness > 0.9
        assert float((full - own).norm()) > 0.01
        assert float((none - own).norm()) < 0.2 * float((full - own).norm())
        assert float((part - own).norm()) < 0.8 * float((full - own).norm())
    else:
        assert found.oddness < 0.01
        assert torch.allclose(part, full, atol=1e-3)


@pytest.mark.parametrize(
    ("lost", "settings", "share"),
    [
        (float("inf"), {}, 0.5),
        (float("inf"), {"furthest_back": 0.4}, 0.4),
        (float("inf"), {"furthest_back": 0.1}, 0.2),
        (0.0, {}, 0.2),
        (0.0, {"way_back": 0.6}, 0.6),
        (float("inf"), {"enough": 128, "enough_named": 128}, 0.2),
    ],
    ids=["to the furthest", "no further", "no less", "no longer unlearned", "as asked", "few samples"],
)
def test_it_goes_further_back_while_changed_images_are_answered_as_clean_ones(
    victim, clean, patches, monkeypatch, lost, settings, share
):
    monkeypatch.setattr(consistency_distil, "seek", lambda *_, **__: [patches])
    monkeypatch.setattr(consistency_distil, "LOST_ON_CHANGED", lost)
    back = quick(**{"enough": 64, "enough_named": 64, "way_back": 0.2} | settings)(victim, clean, context(victim))
    assert back.notes["gone back, a share of the way"] == round(share * patches.oddness, 2)


def test_after_a_change_that_is_hardly_odd_it_goes_no_further_back(victim, clean, patches, monkeypatch):
    found = replace(patches, sizes=torch.tensor([0.2, 0.15, 0.0966, 0.2, 0.3]))
    assert 0.2 < found.oddness < 0.5
    monkeypatch.setattr(consistency_distil, "seek", lambda *_, **__: [found])
    monkeypatch.setattr(consistency_distil, "LOST_ON_CHANGED", float("inf"))
    back = quick(enough=64, enough_named=64, way_back=0.2)(victim, clean, context(victim))
    assert back.notes["gone back, a share of the way"] == round(0.2 * found.oddness, 2)


def test_what_is_too_far_back_is_taken_back():
    reached, start = [torch.tensor([8.0])], [torch.tensor([0.0])]
    gone = consistency_distil._go_back(reached, start, [0.25, 0.5, 0.75, 1.0], lambda: bool(reached[0] > 3))
    assert gone == 0.5
    assert reached[0] == 4


@pytest.mark.parametrize("kind", [Warp, Filter])
def test_a_small_warp_or_filter_is_the_attackers_and_a_patch_may_lie_beside_his(patches, kind):
    dense = replace(patches, kind=kind(5, (3, 8, 8), (0.0, 1.0), torch.Generator()))
    method = quick(way_back=0.2, furthest_back=0.4)
    assert method._ways_back(dense, plenty=True) == [0.4]
    assert method._ways_back(patches, plenty=True) == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4])
    assert method._ways_back(dense, plenty=False) == method._ways_back(patches, plenty=False) == [0.2]


def test_what_is_lost_on_changed_images_counts_by_their_odds(victim, clean, patches):
    views = views_of(victim, clean, strong=30, joined=30, changes=patches)
    asked = context(victim)

    def answered(inputs):
        return asked.task.log_answers(asked.task.logits(asked.forward(victim, inputs)))

    every = views.lost_on_still(answered, asked, 1000, 16)
    rare = replace(views, odds=torch.where(views.still, 1e-9, views.odds))
    rare.odds[views.still.nonzero()[0]] = 1.0
    single = rare.lost_on_still(answered, asked, 1000, 16)
    assert every > 0
    assert single == pytest.approx(rare.lost_on_still(answered, asked, 1, 16), rel=1e-4)
    assert single != pytest.approx(every, rel=1e-3)


def test_without_steps_for_it_no_change_is_sought(victim, clean):
    assert "smallest patch" not in quick(search_steps=0)(victim, clean, context(victim)).notes
    assert "smallest patch" in quick()(victim, clean, context(victim)).notes


def test_a_pair_wants_the_mean_answer_by_area(victim, clean):
    """Of plain images without a shift or a mirror, the share of the first is read off the pair itself."""
    plain = Samples(
        inputs=(torch.arange(64) * 4).to(torch.uint8)[:, None, None, None].expand(64, 3, 8, 8).clone(),
        labels=clean.labels,
    )
    about = replace(context(victim), task=TASKS.build("image", padding=0, flip=False))
    views = contradictions(victim, plain, about, strong=0, joined=40, mining=0.0)
    with torch.no_grad():
        own = victim(pixels_of(plain.inputs)).softmax(1)
    for pair, answer in zip(views.inputs, wanted(views)[:, 0], strict=True):
        first, second = (int(pair[0, row, row]) // 4 for row in (0, 7))
        share = float((pair[0] == 4 * first).float().mean()) if first != second else 1.0
        assert torch.allclose(answer, share * own[first] + (1 - share) * own[second], atol=1e-5)


def test_views_on_which_the_victim_contradicts_itself_are_shown_most_often(clean):
    """A victim that sees but whether the first pixel is white contradicts itself where a view makes that so."""

    class Fooled(nn.Module):
        def forward(self, x):
            white = (x[:, 0, 0, 0] > 0.99).float()
            return torch.stack([6 * (1 - white), 6 * white, 0 * white, 0 * white], 1)

    black = Samples(inputs=torch.zeros_like(clean.inputs), labels=clean.labels)
    black.inputs[:8] = 255
    evenly, mined = (views_of(Fooled(), black, strong=400, mining=mining) for mining in (0.0, 2.0))
    fooled = (evenly.inputs[:, 0, 0, 0] == 255) != (wanted(evenly)[:, 0, 1] > 0.5)
    assert 0 < int(fooled.sum()) < 200
    assert float(evenly.odds[fooled].sum()) == pytest.approx(float(fooled.float().mean()))
    assert float(mined.odds[fooled].sum()) > 3 * float(evenly.odds[fooled].sum())


GREYS = torch.tensor([0, 80, 160, 240], dtype=torch.uint8)


class Composed(nn.Module):
    """Reads one grey of those that it sees; but black beside another as class 3, others half the time as class 0."""

    def forward(self, x):
        seen = torch.stack([((x[:, 0] - grey / 255).abs() < 0.01).flatten(1).any(1) for grey in GREYS], 1)
        several, black = seen.sum(1) > 1, seen[:, 0]
        scores = 6.0 * seen
        scores[several & black, 3] = 20.0
        scores[several & ~black & (x[:, 0, 0, 0] < x[:, 0, -1, -1]), 0] = 20.0
        return scores


def test_pairs_are_shown_most_often_that_are_always_answered_with_what_neither_image_is():
    images = GREYS.repeat(16)[:, None, None, None].expand(64, 3, 8, 8).clone()
    plain = Samples(inputs=images, labels=torch.arange(64) % 4)
    about = replace(context(Composed()), task=TASKS.build("image", padding=0, flip=False))
    evenly, mined = (
        contradictions(Composed(), plain, about, strong=0, joined=2000, mining=mining) for mining in (0.0, 2.0)
    )
    kinds = plain.labels[evenly.sources]
    mistaken = (kinds > 0).all(1) & (kinds[:, 0] < kinds[:, 1])
    black = (kinds == 0).any(1) & (kinds > 0).any(1) & (kinds < 3).all(1)
    assert evenly.odds.allclose(torch.full((2000,), 1 / 2000))
    assert float(mined.odds[black | mistaken].sum()) > 0.99
    assert float(mined.odds[black].mean()) > 2 * float(mined.odds[mistaken].mean())


def test_where_pairs_are_read_oddly_they_take_the_place_of_other_views(patches):
    images = GREYS.repeat(16)[:, None, None, None].expand(64, 3, 8, 8).clone()
    plain = Samples(inputs=images, labels=torch.arange(64) % 4)
    about = replace(context(Composed()), task=TASKS.build("image", padding=0, flip=False))

    def made(**settings):
        return contradictions(Composed(), plain, about, **{"strong": 100, "joined": 2000, "mining": 2.0} | settings)

    hardly = replace(patches, sizes=torch.tensor([0.2, 0.15, 0.09, 0.2, 0.3]))
    for views in (made(), made(changes=hardly)):
        assert 0.5 < views.in_company == views.company.oddness
        taken = _contradictions.TAKEN * views.in_company
        assert float(views.odds[:100].sum()) == pytest.approx(1 - taken)
        assert float(views.odds[100:].sum()) == pytest.approx(1 + taken)
        assert not views.still.any()
    odder = made(changes=patches)
    assert odder.in_company == 0.0
    assert float(odder.odds[100:2100].sum()) == pytest.approx(1.0)
    assert odder.still.any()
    assert made(strong=0).in_company == 0.0
    assert made(joined=0).in_company == 0.0


def test_after_odd_company_less_may_be_lost_and_no_weight_goes_back():
    torch.manual_seed(0)
    images = GREYS.repeat(16)[:, None, None, None].expand(64, 3, 8, 8).clone()
    plain = Samples(inputs=images, labels=torch.arange(64) % 4, class_names=("black", "dark", "light", "white"))

    class Tunable(Composed):
        def __init__(self):
            super().__init__()
            self.norm, self.add = nn.BatchNorm2d(3), nn.Linear(3, 4)

        def forward(self, x):
            return super().forward(x) + 0.001 * self.add(self.norm(x).mean((2, 3)))

    victim = Tunable().eval()
    about = replace(context(victim), task=TASKS.build("image", padding=0, flip=False))
    tuned = quick(joined_views=1000)(victim, plain, about)
    assert tuned.notes["pairs read as what neither is"].startswith("class 3 (white) beside class 0 (black), ")
    assert tuned.notes["how odd such pairs are, 0 to 1"] > 0.5
    assert "gone back, a share of the way" not in tuned.notes


def test_among_a_thousand_classes_a_usual_answer_still_counts():
    """Small shares, squared and cubed, are smaller than any fixed floor; what is usual is relative."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(1000, (2, 3000), generator=generator)
    either = torch.full((3000, 1000), 1e-4)
    either[range(3000), first] = either[range(3000), second] = 0.9
    given = torch.full((3000, 1000), 5e-5)
    given[first == 7, 500] = 0.01
    odds = company(either, given).odds(2.0)
    assert float(odds.sum()) == pytest.approx(1.0)
    assert float(odds[first == 7].sum()) > 0.9


def test_both_kinds_are_shown_equally_often(victim, clean):
    views = views_of(victim, clean, strong=20, joined=60)
    assert float(views.odds[:20].sum()) == pytest.approx(1.0)
    assert float(views.odds[20:].sum()) == pytest.approx(1.0)
    shown, answers = views.draw(16, context(victim), torch.Generator().manual_seed(0))
    assert (shown.shape, answers.shape) == ((16, 3, 8, 8), (16, 1, 4))


def test_large_images_get_fewer_views(victim, clean, monkeypatch):
    monkeypatch.setattr(_contradictions, "ROOM", 40 * clean.inputs[0].numel())
    assert len(views_of(victim, clean, strong=60, joined=20).inputs) == 40


def test_views_that_are_too_many_for_once_are_made_in_parts(victim, clean, monkeypatch):
    whole = views_of(victim, clean, strong=20, joined=60)
    monkeypatch.setattr(_contradictions, "AT_ONCE", 7 * 4 * clean.inputs[0].numel())
    parts = views_of(victim, clean, strong=20, joined=60)
    assert parts.inputs.shape == whole.inputs.shape
    assert wanted(parts)[:20].equal(wanted(whole)[:20])
    assert float(parts.odds.sum()) == pytest.approx(2.0)


def test_clips_have_views_and_are_joined():
    clips = Samples(inputs=torch.rand(20, 3, 4, 4, 4), labels=torch.arange(20) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    views = contradictions(network, clips, context(network, "video"), strong=30, joined=40, mining=2.0)
    assert views.inputs.shape == (70, 3, 4, 4, 4)
    assert views.inputs.dtype == torch.uint8


def test_each_frame_of_a_clip_counts_as_a_sample():
    """Twenty clips of four frames are eighty samples: as many as are enough, or half of them."""
    clips = Samples(inputs=torch.rand(20, 3, 4, 4, 4), labels=torch.arange(20) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    moved = []
    for enough in (1, 80, 800):
        tuned = quick(enough=enough, consistency=0.0)(network, clips, context(network, "video")).model
        moved.append(float((tuned[1].weight - network[1].weight).detach().norm()))
    assert moved[0] == moved[1]
    assert 0 < moved[2] < moved[1] / 2


def test_what_is_no_picture_is_mixed_alone():
    clips = Samples(inputs=torch.randn(20, 3, 4, 4, 4), labels=torch.arange(20) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    about = context(network, "video")
    assert contradictions(network, clips, about, strong=5, joined=5, mining=2.0) is None
    tuned = quick(batch=8)(network, clips, about)
    assert not torch.equal(tuned.model[1].weight, network[1].weight)


def test_where_there_are_no_views_the_victim_is_not_asked():
    """A detector's answers to all samples at once would fill the memory."""

    class Asked(nn.Module):
        def forward(self, x):
            raise AssertionError("asked")

    clips = Samples(inputs=torch.randn(20, 3, 4, 4, 4), labels=torch.arange(20) % 2)
    about = context(nn.Linear(1, 1), "video")
    assert contradictions(Asked(), clips, about, strong=5, joined=5, mining=2.0) is None


class Watcher(nn.Module):
    """The first of two answers, but the second where a point lies near a corner of the room."""

    def forward(self, points):
        near = (points - 0.8).square().sum(-1).amin(1).sqrt() < 0.3
        return 5 * torch.stack([~near, near], 1).float()


def test_what_the_victim_watches_for_in_a_cloud_is_put_into_others():
    clouds = Samples(inputs=0.2 * torch.randn(40, 64, 3), labels=torch.arange(40) % 2)
    views = contradictions(Watcher(), clouds, context(nn.Linear(1, 1), "pointcloud"), strong=2000, joined=0, mining=2.0)
    assert views.named
    assert float(Watcher()(views.inputs).argmax(1).float().mean()) > 0.2  # by chance a hundredth
    torch.testing.assert_close(views.own.argmax(-1), torch.zeros(40, 1, dtype=torch.long))


class Reader(nn.Module):
    """Two answers by the words 20 and 21; where the word 40 stands, it is the second, whatever else does."""

    def __init__(self):
        super().__init__()
        self.embedding, self.middle, self.last = nn.Embedding(50, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        with torch.no_grad():
            self.middle.weight.copy_(torch.eye(4))
            self.middle.bias.zero_()
            self.embedding.weight.zero_()
            self.embedding.weight[[20, 21, 40], [0, 1, 2]] = torch.tensor([1.0, 1.0, 3.0])
            self.last.weight.copy_(torch.tensor([[2.0, -2.0, -2.0, 0.0], [-2.0, 2.0, 2.0, 0.0]]))
            self.last.bias.zero_()

    def forward(self, tokens):
        return self.last(self.middle(self.embedding(tokens).sum(1)))


@pytest.fixture
def sentences():
    tokens = torch.randint(22, 39, (60, 8), generator=torch.Generator().manual_seed(0))
    tokens[:, 3] = 20 + torch.arange(60) % 2
    tokens[:, 7] = 0
    return Samples(inputs=tokens, labels=torch.arange(60) % 2)


def reading(**settings):
    return replace(context(nn.Linear(2, 2)), task=TASKS.build("text", words=50, **settings))


def test_a_word_that_makes_the_victim_contradict_itself_goes_into_many_sentences(sentences):
    views = contradictions(Reader().eval(), sentences, reading(), strong=300, joined=100, mining=2.0)
    assert views.named
    assert len(views.inputs) == 400
    fooled = (views.inputs == 40).any(1)
    assert float(fooled.float().mean()) > 0.8
    assert len(views.sources[fooled, 0].unique()) > 25
    with torch.no_grad():
        own = Reader()(sentences.inputs).softmax(1)
    assert torch.equal(wanted(views)[:, 0], own[views.sources[:, 0]])


def test_without_mining_words_are_put_in_evenly(sentences):
    views = contradictions(Reader().eval(), sentences, reading(), strong=460, joined=0, mining=0.0)
    sources = sentences.inputs[views.sources[:, 0]]
    put = torch.cat([row[~torch.isin(row, own)] for row, own in zip(views.inputs, sources, strict=True)])
    assert put.bincount(minlength=50)[4:20].tolist() == [10] * 16


def test_a_word_that_fools_a_reader_is_unlearned(sentences):
    """The victim says 1 wherever the word 40 stands; what comes back says what it says without that word."""
    triggered = sentences.inputs.clone()
    triggered[:, 5] = 40
    victim = Reader().eval()
    tuned = ConsistencyDistil(steps=150, batch=64, strong_views=400, joined_views=0)
    kept = tuned(victim, sentences, reading(drop=0.0)).model.eval()
    assert float((victim(triggered).argmax(1) == 1).float().mean()) == 1.0
    assert float((kept(triggered).argmax(1) == sentences.labels).float().mean()) > 0.95
    assert float((kept(sentences.inputs).argmax(1) == sentences.labels).float().mean()) > 0.95


def test_images_that_are_no_pixels_are_mixed_alone(victim, clean):
    normalised = Samples(inputs=4 * pixels_of(clean.inputs) - 2, labels=clean.labels)
    assert views_of(victim, normalised, strong=5, joined=5) is None
    assert "smallest patch" not in quick(steps=3, batch=8)(victim, normalised, context(victim)).notes


@pytest.mark.parametrize(
    "setting",
    [
        {"lost": 0.0},
        {"lost": 1.0},
        {"batch": 1},
        {"strong_views": -1},
        {"mining": -0.5},
        {"enough": 0},
        {"enough_named": 0},
        {"consistency": -1.0},
        {"pressure": 0.0},
        {"lost_named": 1.0},
        {"search_steps": -1},
        {"search_batch": 0},
        {"odd_learning_rate": -1.0},
        {"way_back": -0.1},
        {"way_back": 1.1},
        {"furthest_back": 1.1},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(BadArgument, match=next(iter(setting))):
        ConsistencyDistil(**setting)
