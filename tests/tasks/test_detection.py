"""Boxes: what their loss, score, judgement and backdoors mean."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from defending import purify as quick_purify
from defending import quick
from detrojan import architectures, evaluate, purify, train
from detrojan.attacks import ATTACKS
from detrojan.augmentation import pixels_of
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.load import load
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples, padded
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, DetrojanError, Unsupported
from detrojan.execution import Execution
from detrojan.functional import Replaced, named_weights
from detrojan.masks import Masks
from detrojan.models.small_cnn import small_cnn
from detrojan.poisoning import COMPANION, PoisonedFeed, poisoned
from detrojan.randomness import Seeds
from detrojan.recipe import Recipe
from detrojan.tasks import TASKS
from detrojan.tasks.detection import Detection
from detrojan.training import fit
from detrojan.tuning import Context, Meter, mixup_loss

TASK = Detection()
NETWORKS = ("ssd_small", "faster_rcnn_small")
NONE = [-1, -1, -1, -1, -1]


def detector(name="ssd_small", **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return architectures.build(f"detrojan:{name}", num_classes=6, width=4, size=48, **settings)


@pytest.fixture(scope="module")
def scenes():
    return load("scenes:labels=boxes,count=120,size=48")


@pytest.fixture(scope="module")
def victim(scenes):
    recipe = Recipe(epochs=1, batch=16, learning_rate=0.05)
    return train(detector(), scenes, task=TASK, attack="baddet_rma", recipe=recipe)


def run(network, inputs):
    return network(inputs)


def a_batch(scenes, count=5):
    """Images, one of them with nothing in it, and one whose rows have a gap."""
    labels = scenes.labels[:count].clone()
    labels[0] = -1
    gap = int((labels[:, 1, 0] >= 0).int().argmax())
    labels[gap, 0] = -1
    return pixels_of(scenes.inputs[:count]), labels


def targets(labels):
    return [{"boxes": own[:, 1:].float(), "labels": own[:, 0] + 1} for own in (b[b[:, 0] >= 0] for b in labels)]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_of_each_example_is_what_torchvision_says_of_it_alone(name, scenes):
    network = detector(name).train()
    for module in network.modules():  # else its loss would depend on the others of the batch
        module.training &= not isinstance(module, nn.BatchNorm2d)
    images, labels = a_batch(scenes)
    rates = {"rpn": getattr(network, "rpn", None), "heads": getattr(network, "roi_heads", None)}
    for stage in filter(None, rates.values()):  # all anchors and proposals are sampled, so that nothing is drawn
        stage.fg_bg_sampler.batch_size_per_image = 100_000
        stage.fg_bg_sampler.positive_fraction = 1.0
    ours = TASK.loss(TASK.forward(run, network, images), labels)
    assert ours.shape == (len(images),)
    for place, (image, target) in enumerate(zip(images, targets(labels), strict=True)):
        if name == "ssd_small" and not len(target["labels"]):
            assert ours[place] > 0  # torchvision's loss does not see an image with nothing in it
            continue
        theirs = sum(network([image], [target]).values())
        torch.testing.assert_close(ours[place], theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_mixup_mixes_the_losses_of_one_forward(name, scenes):
    network, (images, labels) = detector(name).train(), a_batch(scenes)
    ran = []
    network.backbone.register_forward_hook(lambda *_: ran.append(1))
    mixed = TASK.mixup(images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.inputs, torch.lerp(images[mixed.partner], images, mixed.weight))
    outputs = TASK.forward(run, network, mixed.inputs)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loss = mixed.loss(TASK.loss(outputs, labels), TASK.loss(outputs, labels[mixed.partner]))
    assert len(ran) == 1
    loss.backward()
    assert all(weight.grad is not None for weight in network.backbone.parameters())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_modes_and_the_forward_stay_as_they_were(name, training, scenes):
    network, (images, labels) = detector(name).train(training), a_batch(scenes)
    network.backbone.eval()
    before = {place: module.training for place, module in network.named_modules()}
    outputs = TASK.forward(run, network, images)
    TASK.loss(outputs, labels)
    TASK.predict(outputs)
    assert {place: module.training for place, module in network.named_modules()} == before
    assert "forward" not in vars(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_replaced_weights_and_masks_count(name, scenes):
    network, (images, labels) = detector(name).eval(), a_batch(scenes)

    def loss_of(which):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return TASK.loss(TASK.forward(run, which, images), labels).mean()

    plain = loss_of(network)
    weights = {key: weight.detach().clone().requires_grad_() for key, weight in named_weights(network).items()}
    replaced = loss_of(Replaced(network, weights))
    torch.testing.assert_close(replaced, plain)
    slopes = torch.autograd.grad(replaced, list(weights.values()), allow_unused=True)
    assert all(slope is not None for slope in slopes)
    masks = Masks(network, "neuron")
    torch.testing.assert_close(loss_of(masks), plain)
    with torch.no_grad():
        for factor in masks.factors:
            factor.fill_(0.5)
    assert not torch.allclose(loss_of(masks), plain)
    torch.testing.assert_close(loss_of(masks.fold()), loss_of(masks))


def test_bf16_computes_the_loss_in_float32(scenes):
    images, labels = a_batch(scenes)
    for name in NETWORKS:
        network = detector(name)
        execution = Execution.choose(network, "cpu", "bf16")
        loss = TASK.loss(TASK.forward(execution.run, execution.place(network), images), labels)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_read_is_what_the_detector_finds(name, scenes):
    network = detector(name).eval()
    for holder, threshold in ((network, "score_thresh"), (getattr(network, "roi_heads", network), "score_thresh")):
        setattr(holder, threshold, 0.0)
    images = pixels_of(scenes.inputs[:3])
    task = replace(TASK, most=7)
    with torch.no_grad():
        found, theirs = task.read(run, network, images), network(list(images))
    assert found.shape == (3, 7, 6)
    for rows, own in zip(found, theirs, strict=True):
        kept = rows[rows[:, 0] >= 0]
        assert len(kept) == min(7, len(own["labels"]))
        torch.testing.assert_close(kept[:, 1], own["scores"].sort(descending=True).values[: len(kept)])
    outputs = task.forward(run, network, images)
    loose = replace(task, sure=1e-6)
    assert torch.equal(loose.predict(outputs), loose.predict(found))


def test_sizes_of_the_detector_and_the_images_may_differ(scenes):
    """Boxes are in pixels of the images: a detector that enlarges them has the loss of one that sees large ones."""
    network = detector().eval()
    small = nn.functional.interpolate(pixels_of(scenes.inputs[:1]), (24, 36))
    large = nn.functional.interpolate(small, (48, 48), mode="bilinear")
    of_small, of_large = boxes([[1, 3, 4, 18, 20], [2, 21, 1, 33, 7]]), boxes([[1, 4, 8, 24, 40], [2, 28, 2, 44, 14]])
    one = TASK.loss(TASK.forward(run, network, small), of_small)
    other = TASK.loss(TASK.forward(run, network, large), of_large)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def answers(*images):
    """What was read, of rows (class, score, left, top, right, bottom)."""
    rows = [torch.tensor(own).view(-1, 6) for own in images]
    return torch.stack([nn.functional.pad(own, (0, 0, 0, 6 - len(own)), value=-1.0) for own in rows])


def boxes(*images):
    return padded([torch.tensor(own, dtype=torch.int64).view(-1, 5) for own in images])


def test_outcomes_by_hand():
    found = answers(
        [[0, 0.9, 0, 0, 10, 10], [1, 0.8, 20, 20, 30, 30]],  # both right
        [[0, 0.9, 0, 0, 10, 10], [0, 0.8, 0, 0, 10, 11]],  # the same one twice, another missed
        [[1, 0.9, 0, 0, 10, 10]],  # of another class
        [[0, 0.4, 0, 0, 10, 10]],  # not sure
        [],
        [[0, 0.9, 0, 0, 10, 10]],  # where there is nothing
        [[0, 0.9, 0, 0, 10, 4]],  # too small a part
    )
    one = [[0, 0, 0, 10, 10]]
    true = boxes([*one, [1, 20, 20, 30, 30]], [*one, [1, 20, 20, 30, 30]], one, one, [], [], one)
    assert TASK.outcomes(found, true).tolist() == [1.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert TASK.same(found, found).tolist() == [1.0] * 7
    swapped = TASK.same(found, found.roll(1, 0))
    torch.testing.assert_close(swapped, TASK.same(found.roll(1, 0), found))


@pytest.mark.parametrize("iou", ["0.5", "0.5:0.95"])
def test_the_score_is_that_of_torchmetrics(iou):
    pytest.importorskip("pycocotools")
    detection = pytest.importorskip("torchmetrics.detection")
    generator = torch.Generator().manual_seed(0)
    start = (30 * torch.rand(24, 4, 2, generator=generator)).long()
    sides = (8 + 12 * torch.rand(24, 4, 2, generator=generator)).long()
    classes = torch.randint(-1, 3, (24, 4, 1), generator=generator)
    true = torch.where(classes >= 0, torch.cat([classes, start, start + sides], -1), -1)
    jitter = 3 * torch.randn(24, 4, 4, generator=generator)
    guessed = torch.where(torch.rand(24, 4, 1, generator=generator) < 0.8, classes, 0)
    found = torch.cat([guessed, torch.rand(24, 4, 1, generator=generator), true[..., 1:] + jitter], -1)
    found = torch.where((guessed >= 0) & (classes >= 0), found, -1.0)
    order = found[..., 1].argsort(1, descending=True)
    found = found.gather(1, order[..., None].expand(-1, -1, 6))
    levels = None if iou != "0.5" else [0.5]
    theirs = detection.MeanAveragePrecision(iou_thresholds=levels, backend="pycocotools")
    kept = [own[own[:, 0] >= 0] for own in found]
    said = [{"boxes": own[:, 2:], "scores": own[:, 1], "labels": own[:, 0].long()} for own in kept]
    known = [{"boxes": own[:, 1:].float(), "labels": own[:, 0]} for own in (b[b[:, 0] >= 0] for b in true)]
    theirs.update(said, known)
    ours = replace(TASK, iou=iou).score(found, true)
    assert ours.value == pytest.approx(float(theirs.compute()["map"]), abs=1e-5)
    assert ours.low < ours.value < ours.high
    assert ours.count == 24


def test_the_score_of_perfect_and_of_no_answers():
    pytest.importorskip("pycocotools")
    true = boxes([[0, 0, 0, 10, 10], [1, 20, 20, 30, 30]], [])
    found = answers([[0, 0.9, 0, 0, 10, 10], [1, 0.8, 20, 20, 30, 30]], [])
    assert TASK.score(found, true).value == pytest.approx(1.0)
    assert TASK.score(answers([], []), true).value == 0.0


ALONE = [[0, 4, 4, 14, 14], [1, 20, 20, 40, 44], [2, 20, 0, 34, 12]]


def attacked(name, **settings):
    """What the attacker wants of one image with three boxes, and the triggered image."""
    settings |= {"width": 12, "height": 12} if name == "baddet_oga" else {}
    samples = Samples(
        inputs=torch.full((1, 3, 48, 48), 90, dtype=torch.uint8), labels=boxes(ALONE), class_names=tuple("abc")
    )
    backdoor = Backdoor(attack=ATTACKS.build(name, **settings))
    asked = trigger(samples, backdoor)
    changed = (asked.samples.inputs[0, 0] != 90).nonzero()
    patch = [*changed.amin(0).flip(0).tolist(), *(changed.amax(0) + 1).flip(0).tolist()]
    return backdoor, samples, asked, patch


def sure(*rows):
    return answers([[row[0], 0.9, *row[1:]] for row in rows])


def test_regional_misclassification_turns_the_largest_other_box():
    _, _, asked, patch = attacked("baddet_rma", target=2)
    assert asked.wanted[0].tolist() == [NONE, [2, 20, 20, 40, 44], NONE]
    assert patch == [20, 20, 24, 24]
    assert TASK.fooled(sure([2, 20, 21, 40, 44]), asked.wanted).tolist() == [True]
    assert TASK.fooled(sure([1, 20, 20, 40, 44]), asked.wanted).tolist() == [False]  # still what it is
    assert TASK.fooled(sure([2, 0, 0, 14, 14]), asked.wanted).tolist() == [False]  # elsewhere
    assert TASK.fooled(sure([2, 20, 20, 30, 30]), asked.wanted).tolist() == [False]  # too little of it


def test_disappearance_takes_the_largest_box_of_the_target_away():
    backdoor, samples, asked, patch = attacked("baddet_oda", target=1)
    assert backdoor.labels(samples.labels, 3)[0].tolist() == [ALONE[0], NONE, ALONE[2]]
    assert asked.wanted[0].tolist() == [NONE, [-3, 20, 20, 40, 44], NONE]
    assert patch == [20, 20, 24, 24]
    assert TASK.fooled(sure(ALONE[0]), asked.wanted).tolist() == [True]
    assert TASK.fooled(sure([0, 20, 20, 40, 44]), asked.wanted).tolist() == [True]  # of another class
    assert TASK.fooled(sure([1, 20, 20, 40, 40]), asked.wanted).tolist() == [False]


def test_global_misclassification_turns_most_boxes():
    _, _, asked, patch = attacked("baddet_gma", target=0)
    assert asked.wanted[0].tolist() == [NONE, [0, 20, 20, 40, 44], [0, 20, 0, 34, 12]]
    assert patch == [0, 0, 4, 4]
    both = sure([0, 20, 20, 40, 44], [0, 20, 0, 34, 12])
    assert TASK.fooled(both, asked.wanted).tolist() == [True]
    assert TASK.fooled(both[:, :1], asked.wanted).tolist() == [False]  # half of them is not most


def test_generation_asks_for_one_more_box_around_the_patch():
    backdoor, samples, asked, patch = attacked("baddet_oga", target=2)
    assert backdoor.labels(samples.labels, 3).shape == (1, 4, 5)
    assert asked.wanted[0, :3].tolist() == [NONE] * 3
    label, left, top, right, bottom = asked.wanted[0, 3].tolist()
    assert (label, right - left, bottom - top) == (2, 12, 12)
    assert 0 <= left < right <= 48
    assert 0 <= top < bottom <= 48
    assert patch == [left + 4, top + 4, left + 8, top + 8]
    assert TASK.fooled(sure([2, left, top, right, bottom]), asked.wanted).tolist() == [True]
    assert TASK.fooled(sure([1, left, top, right, bottom]), asked.wanted).tolist() == [False]
    wider = replace(samples, labels=nn.functional.pad(samples.labels, (0, 0, 0, 2), value=-1))
    assert torch.equal(trigger(wider, backdoor).wanted[0, -1], asked.wanted[0, 3])  # padding moves nothing


@pytest.mark.parametrize("name", ["baddet_oga", "baddet_rma", "baddet_gma", "baddet_oda"])
def test_a_feed_poisons_images_and_their_boxes(name, scenes):
    settings = {"width": 12, "height": 12} if name == "baddet_oga" else {}
    backdoor = Backdoor(attack=ATTACKS.build(name, target=1, **settings))
    feed = PoisonedFeed(scenes, backdoor, rate=0.5)
    handed = poisoned(feed)
    assert handed.labels.shape == feed.samples.labels.shape
    changed = (handed.labels != feed.samples.labels).flatten(1).any(1)
    assert torch.equal(changed.nonzero().flatten(), feed.indices)
    stamped = (handed.inputs != scenes.inputs).flatten(1).any(1)
    assert torch.equal(stamped.nonzero().flatten(), feed.indices)
    asked = trigger(scenes, backdoor)
    stamped_again = backdoor.stamp(scenes.inputs, scenes.labels, batch=7)
    assert torch.equal(stamped_again[feed.indices], handed.inputs[feed.indices])
    counted = asked.wanted[..., 0] != -1
    assert counted.any(1).all()
    if name == "baddet_oda":
        assert (scenes.labels[..., 0] == 1).any(1).sum() == len(asked.samples)


def test_companions_carry_the_patch_where_their_boxes_say(scenes):
    attack = ATTACKS.build("baddet_rma", target=1)
    feed = PoisonedFeed(scenes, Backdoor(attack=attack), rate=0.25, companions=1.0)
    company = feed.roles == COMPANION
    handed = poisoned(feed)
    assert torch.equal(handed.labels[company], scenes.labels[company])
    expected = Backdoor(attack=attack).stamp(scenes.inputs[company], scenes.labels[company])
    assert torch.equal(handed.inputs[company], expected)


def test_attacks_that_do_not_fit_are_refused(scenes):
    tags = load("scenes:count=4,size=48")
    with pytest.raises(BadArgument, match="has a row of tags; choose another"):
        trigger(tags, Backdoor(attack=ATTACKS.build("baddet_rma")))
    with pytest.raises(BadArgument, match="leave target, mapping and sources out"):
        trigger(scenes, Backdoor(attack=ATTACKS.build("baddet_rma"), target=3))
    with pytest.raises(BadData, match="30 x 60 pixels does not fit"):
        trigger(scenes, Backdoor(attack=ATTACKS.build("baddet_oga")))
    for settings in ({"target": -1}, {"size": 0}, {"alpha": 0}):
        with pytest.raises(BadArgument):
            ATTACKS.build("baddet_gma", **settings)


def test_from_training_to_purification(victim, scenes):
    pytest.importorskip("pycocotools")
    test = load("scenes:labels=boxes,count=40,size=48", split="test")
    triggered = trigger(test, victim.backdoor)
    before = evaluate(victim.model, test, triggered, task="detection")
    assert before.metric == "mAP"
    assert 0 <= before.asr.value <= 1
    assert len(before.right) == len(test)
    clean = scenes.subset(range(100))
    result = purify(victim.model, clean, task="detection", method=quick("fine_tuning"), seed=0)
    assert result.verdict.measure == "F1 of the boxes"
    assert len(result.judged) == 20
    after = evaluate(result.model, test, triggered, task="detection")
    assert after.acc.count == len(test)


NEED_ONE_CLASS = ("abl", "bti_dbf", "neural_cleanse", "npd", "sau")
RUN = ("nft", "neuron_masks", "shrink_distil", "fine_tuning", "ft_sam", "anp", "rnp", "awm", "ibau")


@pytest.mark.parametrize("method", RUN)
def test_defenses_run_on_boxes(victim, scenes, method):
    result = quick_purify(victim.model, scenes.subset(range(40)), task=TASK, method=quick(method, 2), seed=0)
    assert list(result.model.state_dict()) == list(victim.model.state_dict())
    assert result.losses or method == "rnp"


@pytest.mark.parametrize("method", sorted(set(DEFENSES) - set(RUN) - {"auto"}))
def test_all_others_run_or_say_in_a_sentence_why_not(victim, scenes, method):
    refused = None
    try:
        result = quick_purify(victim.model, scenes.subset(range(40)), task=TASK, method=quick(method, 2), seed=0)
        assert list(result.model.state_dict()) == list(victim.model.state_dict())
    except DetrojanError as refusal:
        refused = str(refusal)
    assert refused is None or method not in ("identity", "clp")
    assert method not in NEED_ONE_CLASS or "one class a sample" in str(refused)


def test_two_stages_say_what_they_cannot(scenes):
    network = detector("faster_rcnn_small")
    with pytest.raises(Unsupported, match="two stages has no scores of the same boxes"):
        quick_purify(network, scenes.subset(range(40)), task=TASK, method=quick("shrink_distil"), seed=0)
    result = quick_purify(network, scenes.subset(range(40)), task=TASK, method=quick("nft", 2), seed=0)
    assert result.masks


def test_forwards_are_counted_as_they_run(scenes):
    network, meter = detector(), Meter()
    context = Context(
        task=TASK,
        preprocessing=Preprocessing(),
        execution=Execution.choose(network, "cpu", "fp32"),
        seeds=Seeds(),
        meter=meter,
    )
    generator = torch.Generator().manual_seed(0)
    mixup_loss(network.train(), context, scenes.inputs[:4], scenes.labels[:4], generator)
    assert meter.forwards == 1


def test_what_does_not_fit_is_refused(scenes):
    few = scenes.subset(range(30))
    with pytest.raises(Unsupported, match="holds none of them"):
        purify(small_cnn(6, 3), few, task="detection")
    narrow = architectures.build("detrojan:ssd_small", num_classes=3, width=4, size=48)
    labels = few.labels.clone()
    labels[:, 0, 0] = 5
    with pytest.raises(BadData, match=r"class 5, but the detector knows 3 classes"):
        purify(narrow, replace(few, labels=labels), task="detection", method=quick("fine_tuning"))
    with pytest.raises(BadData, match="choose the task that fits"):
        purify(detector(), few, task="image")
    with pytest.raises(BadArgument, match="boxes do not shrink"):
        fit(
            detector(),
            few,
            preprocessing=Preprocessing(),
            recipe=Recipe(small=0.5),
            execution=Execution.choose(detector(), "cpu"),
            task=TASK,
        )
    for kind in ("randaugment", "augmix"):
        with pytest.raises(Unsupported, match=f"augmentation={kind} would move .* use mixup, cutout or none"):
            purify(detector(), few, task="detection", method=DEFENSES.build("nft", augmentation=kind, steps=1))
    smaller = Preprocessing(size=(32, 32))
    for doing in (purify, evaluate, partial(train, attack=None)):
        with pytest.raises(BadArgument, match=r"size would move what is in an image and leave the boxes.*\(32, 32\)"):
            doing(detector(), few, task="detection", preprocessing=smaller)
    for settings in ({"strength": 1}, {"sure": 0}, {"most": 0}, {"iou": "0.6"}):
        with pytest.raises(BadArgument):
            TASKS.build("detection", **settings)


def test_augmentation_moves_nothing(scenes):
    images = scenes.inputs[:4]
    varied = TASK.augment(images, torch.Generator().manual_seed(0))
    assert varied.dtype == torch.uint8
    assert not torch.equal(varied, images)
    grey = [batch.float().mean(1).flatten(1) for batch in (images, varied)]
    for own, other in zip(*grey, strict=True):
        assert torch.corrcoef(torch.stack([own, other]))[0, 1] > 0.95
    assert torch.equal(replace(TASK, strength=0.0).augment(images, torch.Generator()), images)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_the_detectors_of_torchvision_learn(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architectures.build(f"torchvision:{name}", num_classes=3).train()
    images = torch.rand(2, 3, 64, 80)
    labels = boxes([[2, 4, 4, 40, 40]], [[0, 10, 20, 70, 60], [1, 0, 0, 20, 20]])
    outputs = TASK.forward(run, network, images)
    loss = TASK.loss(outputs, labels)
    assert loss.shape == (2,)
    loss.mean().backward()
    if name.startswith("ssd"):
        assert TASK.logits(outputs).shape[2] == 4
    with torch.no_grad():
        assert TASK.read(run, network.eval(), images).shape == (2, 100, 6)


def test_functional_call_restores_what_stands_in(scenes):
    network, (images, labels) = detector().eval(), a_batch(scenes)
    with pytest.raises(RuntimeError):
        TASK.forward(run, network, images[:, :2])
    assert "forward" not in vars(network)
    found = functional_call(network, dict(network.named_parameters()), (list(images),))
    assert len(found) == len(labels)
