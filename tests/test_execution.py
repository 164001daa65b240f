"""The choice of device, precision and layout depends on hardware and network, and changes no result beyond rounding."""

import pytest
import torch
from torch import nn

from detrojan.errors import BadArgument
from detrojan.execution import Execution
from detrojan.models.preact_resnet import preact_resnet18, preact_resnet34


def test_channels_last_only_for_networks_with_convolutions_and_outputs_agree():
    torch.manual_seed(0)
    model = preact_resnet18(width=8).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        plain = model(images)
        execution = Execution.choose(model, "cpu", "fp32")
        placed = execution.place(model)(execution.send(images))
    assert execution.channels_last
    assert execution.send(images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain, placed, rtol=1e-4, atol=1e-5)
    assert not Execution.choose(nn.Linear(2, 2), "cpu").channels_last


def test_bf16_agrees_with_fp32_to_its_own_rounding():
    torch.manual_seed(0)
    model = preact_resnet18(width=8).eval()
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        exact = model(images)
        with Execution.choose(model, "cpu", "bf16").running():
            rounded = model(images).float()
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max()


def test_auto_takes_bf16_only_where_the_processor_has_it_and_weights_are_fp32():
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert Execution.choose(nn.Linear(2, 2), "cpu").bf16 == has
    assert not Execution.choose(nn.Linear(2, 2).half(), "cpu").bf16


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_network_gets_floats_of_its_own_kind_and_whole_numbers_as_they_are(kind):
    model = nn.Linear(2, 2).to(kind)
    execution = Execution.choose(model, "cpu")
    assert execution.run(model, torch.ones(3, 2)).dtype in (kind, torch.bfloat16 if execution.bf16 else kind)
    assert execution.feed(torch.ones(3, 2, dtype=torch.int64)).dtype == torch.int64
    assert execution.bf16 is False or kind == torch.float32
    assert str(execution).split(", ")[1] == {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}.get(
        kind, "bf16" if execution.bf16 else "fp32"
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"precision": "fp16"}, "precision must be one of auto, fp32, bf16, got 'fp16'"),
        ({"distributed": "shard"}, "distributed must be False, True or 'shards', got 'shard'"),
    ],
)
def test_what_there_is_not_is_refused(wrong, sentence):
    with pytest.raises(BadArgument, match=sentence):
        Execution.choose(nn.Linear(2, 2), "cpu", **wrong)


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there_gets_a_sentence(device):
    with pytest.raises(BadArgument, match="is not there"):
        Execution.choose(nn.Linear(2, 2), device)


@pytest.mark.parametrize(("build", "convolutions"), [(preact_resnet18, 20), (preact_resnet34, 36)])
def test_preact_resnets_have_the_published_depth(build, convolutions):
    model = build(width=4, num_classes=7, in_channels=1)
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(found) == convolutions  # 16 or 32 in blocks, the stem, three shortcuts
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_preact_resnet18_of_full_width_has_the_published_size():
    assert sum(p.numel() for p in preact_resnet18().parameters()) == pytest.approx(11.17e6, rel=0.01)
