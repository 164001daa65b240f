"""Strong views keep what is asked of them, and say what was put into them; two images in one say how much of each."""

import pytest
import torch

from detrojan import views
from detrojan.errors import BadData, Unsupported
from detrojan.tasks import TASKS


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_side_by_side_keeps_its_share_of_the_first():
    first, second = torch.ones(200, 3, 20, 30), torch.zeros(200, 3, 20, 30)
    joined, share = views.side_by_side(first, second, generator())
    torch.testing.assert_close(joined.mean((1, 2, 3)), share)
    assert 0.29 < float(share.min()) < 0.35
    assert 0.65 < float(share.max()) < 0.71
    beside = (joined == joined[:, :, :1]).all(3).all(2).all(1)
    below = (joined == joined[..., :1]).all(3).all(2).all(1)
    assert bool((beside ^ below).all())
    assert 60 < int(beside.sum()) < 140
    assert float(joined[:, :, 0, 0].min()) == 1


def test_clips_stand_side_by_side_in_all_frames():
    first, second = torch.ones(20, 3, 4, 16, 16), torch.zeros(20, 3, 4, 16, 16)
    joined, share = views.side_by_side(first, second, generator())
    torch.testing.assert_close(joined.mean((1, 2, 3, 4)), share)
    assert torch.equal(joined, joined[:, :, :1].expand_as(joined))


def test_a_strong_view_casts_the_colours_of_a_grey_image():
    grey = torch.full((64, 3, 16, 16), 0.5)
    plain, cast = (views.strong_view(grey, generator(2), cast=strength) for strength in (0.0, 0.3))
    spread = [float(views.flatten(2).median(2).values.std(1).mean()) for views in (plain, cast)]
    assert spread[0] < 0.01
    assert spread[1] > 0.04


def test_every_word_is_drawn_as_often_as_any_other():
    drawn = views.drawn_from(range(4, 14), 35, generator())
    assert sorted(drawn.bincount(minlength=14)[4:].tolist()) == [3] * 5 + [4] * 5
    assert drawn.tolist() != sorted(drawn.tolist())


def test_a_word_is_put_between_two_others():
    tokens = torch.tensor([[5, 6, 7, 0, 0, 0]]).repeat(200, 1)
    put = views.with_words(tokens, torch.full((200,), 9), generator())
    assert sorted({tuple(row) for row in put.tolist()}) == [(5, 6, 9, 7, 0, 0), (5, 9, 6, 7, 0, 0)]


def test_a_full_sentence_keeps_its_first_and_last_word():
    tokens = torch.arange(10, 16)[None].repeat(200, 1)
    put = views.with_words(tokens, torch.full((200,), 9), generator())
    assert set(put[:, 0].tolist()) == {10}
    assert set(put[:, -1].tolist()) == {15}
    assert bool(((put == 9).sum(1) == 1).all())
    assert set((put == 9).long().argmax(1).tolist()) == {1, 2, 3, 4}


def test_a_sentence_of_one_word_keeps_it():
    put = views.with_words(torch.tensor([[5, 0, 0]]), torch.tensor([9]), generator())
    assert put.tolist() == [[5, 9, 0]]


def test_half_of_the_signs_turn_clouds_and_half_fill_them():
    signs = views.turns_and_balls(2000, generator())
    turned, filled = (signs[:, :3] != 0).all(1), (signs[:, 3:] != 0).all(1)
    assert bool((turned ^ filled).all())
    assert int(turned.sum()) == 1000
    assert bool(((signs[turned] == 0)[:, 3:].all()) & ((signs[filled] == 0)[:, :3].all()))
    degrees = signs[turned, :3].rad2deg().abs().amax(0)
    torch.testing.assert_close(degrees, torch.tensor([10.0, 10.0, 45.0]), rtol=0.05, atol=0)
    assert float(signs[filled, 3:6].abs().max()) <= 1
    assert 0.045 < float(signs[filled, 6].max()) <= 0.05


def test_a_turned_cloud_turns_about_the_axis_that_points_up():
    points = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]]])
    quarter = torch.tensor([[0, 0, torch.pi / 2, 0, 0, 0, 0]])
    turned = views.turned_or_filled(points, quarter, generator())
    torch.testing.assert_close(turned, torch.tensor([[[0.0, 1.0, 0.5], [-1.0, 0.0, -0.5]]]))


def test_a_ball_takes_its_share_of_the_points_and_leaves_the_rest():
    points = torch.randn(50, 100, 3, generator=generator())
    signs = torch.tensor([0, 0, 0, 0.5, -0.5, 2.0, 0.04]).repeat(50, 1)
    filled = views.turned_or_filled(points, signs, generator())
    taken = (filled != points).any(-1)
    assert taken.sum(1).tolist() == [4] * 50
    assert len({tuple(row.nonzero().flatten().tolist()) for row in taken}) > 40
    distance = (filled[taken] - torch.tensor([0.5, -0.5, 2.0])).norm(dim=1)
    torch.testing.assert_close(distance, torch.full_like(distance, 0.05))


def test_clouds_say_what_was_done_to_them_and_take_it_from_others():
    task, clouds = TASKS.build("pointcloud"), torch.rand(6, 32, 3, generator=generator())
    view, done = task.view(clouds, generator())
    assert (view.shape, done.shape) == (clouds.shape, (6, 7))
    again, same = task.view(clouds, generator(2), done.flip(0))
    assert torch.equal(same, done.flip(0))
    turned = (done.flip(0)[:, :3] != 0).any(1)
    torch.testing.assert_close(again[turned].norm(dim=-1), clouds[turned].norm(dim=-1))
    with pytest.raises(Unsupported):
        task.join(clouds, clouds, generator())
    with pytest.raises(BadData, match="clouds are floats"):
        task.view(clouds[..., :2], generator())


PIXELS = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator())
TOKENS = torch.randint(10, 20, (6, 8), generator=generator())


@pytest.mark.parametrize("name", ["image", "multilabel"])
def test_tasks_of_images_make_views_and_pairs_as_bytes(name):
    task = TASKS.build(name)
    view, put = task.view(PIXELS, generator())
    assert (view.shape, view.dtype, put) == (PIXELS.shape, torch.uint8, None)
    joined, share = task.join(PIXELS, PIXELS.flip(0), generator())
    assert (joined.shape, joined.dtype, share.shape) == (PIXELS.shape, torch.uint8, (6,))


@pytest.mark.parametrize("name", ["text", "translation", "dialogue"])
def test_tasks_of_sentences_say_which_word_a_view_got(name):
    task = TASKS.build(name, words=60)
    inputs = TOKENS if name == "text" else torch.stack([TOKENS, TOKENS + 20], 1)
    view, put = task.view(inputs, generator())
    source = view if name == "text" else view[:, 0]
    assert bool((source == put[:, None]).any(1).all())
    again, same = task.view(inputs, generator(2), put.flip(0))
    assert torch.equal(same, put.flip(0))
    if name != "text":
        assert torch.equal(again[:, 1], inputs[:, 1])
    with pytest.raises(Unsupported):
        task.join(inputs, inputs, generator())


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("video", torch.randn(4, 3, 5, 8, 8)),
        ("detection", torch.rand(4, 3, 8, 8)),
        ("image", torch.rand(4, 2, 8, 8)),
        ("image", torch.randn(4, 3, 8, 8)),
    ],
)
def test_of_other_samples_there_are_none(name, inputs):
    task = TASKS.build(name)
    with pytest.raises(Unsupported):
        task.view(inputs, generator())
    with pytest.raises(Unsupported):
        task.join(inputs, inputs, generator())
