"""Tiny networks of torchvision, timm and transformers, built from configurations, for the table tests."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import video
from torchvision.models.detection import FasterRCNN, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from detrojan.models.cnn_lstm import cnn_lstm
from detrojan.models.dgcnn import dgcnn
from detrojan.models.pointnet import pointnet
from detrojan.models.pointnet2 import pointnet2
from detrojan.models.preact_resnet import PreActResNet
from detrojan.models.r3d import r2plus1d10, r3d10

vision = torchvision.models
WORDS = 40


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network in eval mode with the arguments of a call; `training` are those added in train mode.

    `watch`: compare the output of this part in place of the whole's (untrained detectors have ties among their boxes).
    """

    network: nn.Module
    args: tuple[Any, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    watch: str = ""

    def run(self, network: nn.Module) -> list[Tensor]:
        """All floating tensors of the output of a network, or of masks around one, on this case's input."""
        outputs: list[Any] = []
        watched = getattr(network, "network", network).get_submodule(self.watch)
        handle = watched.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        network(*self.args, **self.settings, **(self.training if network.training else {}))
        handle.remove()
        return tensors_of(outputs)


def build(name: str) -> Case:
    """Build a network of the table; norms, biases and all that begins as zeros are moved off their ones and zeros."""
    torch.manual_seed(0)
    case = NETWORKS[name]()
    with torch.no_grad():
        for parameter in case.network.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))
        for key, buffer in case.network.named_buffers():
            if key.endswith("running_mean"):
                buffer.uniform_(-0.2, 0.2)
    case.network.eval()
    return case


def tensors_of(output: Any) -> list[Tensor]:
    """All floating tensors of a nested output, in order."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    values = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else []
    return [tensor for value in values for tensor in tensors_of(value)]


def of_images(make: Callable[[], nn.Module], size: int = 32) -> Callable[[], Case]:
    return lambda: Case(network=make(), args=(torch.randn(2, 3, size, size),))


def of_clips(block: type[nn.Module], convolution: type[nn.Module], stem: type[nn.Module]) -> Callable[[], Case]:
    def make() -> Case:
        kinds = [video.resnet.Conv3DSimple, *[convolution] * 3]
        network = video.resnet.VideoResNet(block, kinds, [1, 1, 1, 1], stem, num_classes=4)
        return Case(network=network, args=(torch.randn(2, 3, 4, 16, 16),))

    return make


def of_points() -> Case:
    return Case(network=PointNet(), args=(torch.randn(3, 3, 20),))


def of_clouds(make: Callable[[], nn.Module]) -> Callable[[], Case]:
    return lambda: Case(network=make(), args=(torch.randn(4, 24, 3),))


def of_words(make: Callable[[], nn.Module], *, decoder: bool = False) -> Callable[[], Case]:
    def case() -> Case:
        words = torch.randint(3, WORDS, (2, 7))
        settings = {"decoder_input_ids": words[:, :5]} if decoder else {}
        return Case(network=make(), settings={"input_ids": words, **settings})

    return case


def of_boxes(make: Callable[[], nn.Module], watch: str = "") -> Callable[[], Case]:
    def case() -> Case:
        target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 24.0]]), "labels": torch.tensor([1])}
        pictures = list(torch.rand(2, 3, 32, 32))
        return Case(network=make(), args=(pictures,), training={"targets": [target, target]}, watch=watch)

    return case


class PointNet(nn.Module):
    """Norms declared after all linear layers, as point networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 16, 1)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 4)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(8), nn.BatchNorm1d(16), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu().amax(2)
        return self.fc2(self.bn3(self.fc1(x)).relu())


class Recurrent(nn.Module):
    """Embedding, recurrent layers, a linear head."""

    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.layers = kind(6, 8, 2, batch_first=True, **settings)
        self.head = nn.LazyLinear(4)
        self(torch.zeros(2, 3, dtype=torch.long))

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(input_ids))[0][:, -1])


class Seq2Seq(nn.Transformer):
    """torch's own transformer on continuous inputs; in eval mode its fast path reads weights past the layers."""

    def __init__(self) -> None:
        super().__init__(8, 2, 2, 2, 16, dropout=0.1, batch_first=True)


class Maps(nn.Sequential):
    """Three maps of a small backbone by name, as detectors and segmentation heads want them."""

    def __init__(self, names: tuple[str, ...] = ("0", "1", "2")) -> None:
        steps = ((3, 8), (8, 16), (16, 16))
        super().__init__(*(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in steps))
        self.names, self.out_channels = names, [8, 16, 16]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = OrderedDict[str, Tensor]()
        for name, layer in zip(self.names, self, strict=True):
            x = maps[name] = layer(x)
        return maps


def ssd() -> nn.Module:
    boxes = DefaultBoxGenerator([[2], [2], [2]], scales=[0.1, 0.3, 0.6, 0.9])
    return SSD(Maps(), boxes, (32, 32), num_classes=3, score_thresh=0.0, detections_per_img=20)


def ssdlite() -> nn.Module:
    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)


def faster_rcnn() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), FrozenBatchNorm2d(8), nn.ReLU())
    backbone.out_channels = 8
    anchors, pool = AnchorGenerator(((8, 16),), ((1.0,),)), MultiScaleRoIAlign(["0"], 3, 1)
    return FasterRCNN(backbone, 3, 32, 32, rpn_anchor_generator=anchors, box_roi_pool=pool, box_score_thresh=0.0)


def segmentation(kind: type[nn.Module], head: Callable[[int, int], nn.Module]) -> nn.Module:
    return kind(Maps(("low", "aux", "out")), head(16, 4), FCNHead(16, 4))


def efficientnet() -> nn.Module:
    step = partial(vision.efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    steps = [step(1, 3, 1, 8, 8, 1), step(4, 3, 2, 8, 16, 2), step(4, 5, 1, 16, 16, 1)]
    return vision.EfficientNet(steps, dropout=0.1, num_classes=4)


def convnext() -> nn.Module:
    blocks = [vision.convnext.CNBlockConfig(8, 16, 2), vision.convnext.CNBlockConfig(16, None, 2)]
    return vision.ConvNeXt(blocks, stochastic_depth_prob=0.1, layer_scale=0.5, num_classes=4)


def swin(version: int) -> nn.Module:
    parts = vision.swin_transformer
    block = parts.SwinTransformerBlock if version == 1 else parts.SwinTransformerBlockV2
    merge = parts.PatchMerging if version == 1 else parts.PatchMergingV2
    return vision.SwinTransformer(
        [4, 4], 8, [2, 2], [2, 2], [2, 2], dropout=0.1, num_classes=4, block=block, downsample_layer=merge
    )


def maxvit() -> nn.Module:
    return vision.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, 0.1, num_classes=4)


def vgg(*, norm: bool) -> nn.Module:
    layers = vision.vgg.make_layers([8, "M", 16, "M"], batch_norm=norm)
    with torch.device("meta"):  # its own classifier, replaced below, has 100 million weights
        network = vision.VGG(nn.Sequential(), init_weights=False)
    network.features, network.avgpool = layers, nn.AdaptiveAvgPool2d(2)
    network.classifier = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 4))
    return network


def timm(name: str, **settings: Any) -> nn.Module:
    from timm import create_model

    return create_model(name, num_classes=4, **settings)


def mixer() -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes=4, img_size=32, patch_size=8, num_blocks=2, embed_dim=16)


def convmixer() -> nn.Module:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(dim=16, depth=2, kernel_size=3, patch_size=4, num_classes=4)


def std_resnet() -> nn.Module:
    from timm.layers import GroupNormAct, StdConv2d
    from timm.models.resnetv2 import ResNetV2

    norm = partial(GroupNormAct, num_groups=4)
    return ResNetV2([1, 1], (32, 64), 4, 3, stem_chs=8, conv_layer=StdConv2d, norm_layer=norm)


def hugging(kind: str, config: str, **settings: Any) -> nn.Module:
    import transformers

    settings = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **settings}
    return getattr(transformers, kind)(getattr(transformers, config)(**settings))


BERT = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
LLAMA = {**BERT, "num_key_value_heads": 1}
GEMMA = {**LLAMA, "head_dim": 8}
DISTIL = {"vocab_size": WORDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
GPT2 = {"vocab_size": WORDS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
T5 = {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
BART = {
    "vocab_size": WORDS, "d_model": 16, "max_position_embeddings": 16, "decoder_start_token_id": 2,
    **{f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in
       (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))},
}  # fmt: skip
VIT = {**{k: v for k, v in BERT.items() if k != "vocab_size"}, "image_size": 32, "patch_size": 8, "num_labels": 4}

resnets = video.resnet
NETWORKS: dict[str, Callable[[], Case]] = {
    "preact_resnet": of_images(lambda: PreActResNet((1, 1, 1, 1), 8)),
    "resnet_basic": of_images(lambda: vision.ResNet(vision.resnet.BasicBlock, [1, 1, 1, 1], 4)),
    "resnet_bottleneck": of_images(
        lambda: vision.ResNet(vision.resnet.Bottleneck, [1, 1, 1, 1], 4, groups=4, width_per_group=4)
    ),
    "vgg": of_images(lambda: vgg(norm=False)),
    "vgg_bn": of_images(lambda: vgg(norm=True)),
    "mobilenet_v2": of_images(lambda: vision.mobilenet_v2(width_mult=0.25, num_classes=4), 64),
    "mobilenet_v3": of_images(lambda: vision.mobilenet_v3_small(width_mult=0.25, num_classes=4), 64),
    "efficientnet": of_images(efficientnet),
    "densenet": of_images(lambda: vision.DenseNet(8, (2, 2), 8, num_classes=4)),
    "shufflenet": of_images(lambda: vision.ShuffleNetV2([1, 1, 1], [8, 16, 16, 16, 32], 4), 64),
    "squeezenet": of_images(lambda: vision.squeezenet1_1(num_classes=4), 64),
    "googlenet": of_images(lambda: vision.googlenet(num_classes=4, init_weights=False), 64),
    "convnext": of_images(convnext),
    "vit": of_images(lambda: vision.VisionTransformer(32, 8, 2, 2, 16, 24, 0.1, num_classes=4)),
    "swin": of_images(lambda: swin(1)),
    "swin_v2": of_images(lambda: swin(2)),
    "maxvit": of_images(maxvit),
    "r3d": of_clips(resnets.BasicBlock, resnets.Conv3DSimple, resnets.BasicStem),
    "mc3": of_clips(resnets.BasicBlock, resnets.Conv3DNoTemporal, resnets.BasicStem),
    "r2plus1d": of_clips(resnets.BasicBlock, resnets.Conv2Plus1D, resnets.R2Plus1dStem),
    "r3d_narrow": lambda: Case(network=r3d10(4, 4), args=(torch.randn(2, 3, 4, 16, 16),)),
    "r2plus1d_narrow": lambda: Case(network=r2plus1d10(4, 4), args=(torch.randn(2, 3, 4, 16, 16),)),
    "cnn_lstm": lambda: Case(network=cnn_lstm(4, 4), args=(torch.randn(2, 3, 4, 16, 16),)),
    "ssd": of_boxes(ssd),
    "ssdlite": of_boxes(ssdlite, "head"),
    "faster_rcnn": of_boxes(faster_rcnn),
    "deeplab": of_images(lambda: segmentation(DeepLabV3, DeepLabHead)),
    "fcn": of_images(lambda: segmentation(FCN, FCNHead)),
    "timm_mixer": of_images(mixer),
    "timm_regnet": of_images(lambda: timm("regnetx_002")),
    "timm_nfnet": of_images(lambda: timm("test_nfnet")),
    "timm_convmixer": of_images(convmixer),
    "timm_deit": of_images(
        lambda: timm("deit_tiny_distilled_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
    ),
    "timm_beit": of_images(
        lambda: timm("beit_base_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
    ),
    "timm_std_resnet": of_images(std_resnet),
    "timm_efficientnet": of_images(lambda: timm("test_efficientnet")),
    "timm_convnext": of_images(lambda: timm("test_convnext")),
    "timm_vit": of_images(lambda: timm("test_vit", img_size=32)),
    "hf_bert": of_words(lambda: hugging("BertForSequenceClassification", "BertConfig", **BERT)),
    "hf_distilbert": of_words(lambda: hugging("DistilBertForSequenceClassification", "DistilBertConfig", **DISTIL)),
    "hf_gpt2": of_words(lambda: hugging("GPT2LMHeadModel", "GPT2Config", **GPT2)),
    "hf_t5": of_words(lambda: hugging("T5ForConditionalGeneration", "T5Config", **T5), decoder=True),
    "hf_bart": of_words(lambda: hugging("BartForConditionalGeneration", "BartConfig", **BART), decoder=True),
    "hf_marian": of_words(lambda: hugging("MarianMTModel", "MarianConfig", **BART), decoder=True),
    "hf_llama": of_words(lambda: hugging("LlamaForCausalLM", "LlamaConfig", **LLAMA)),
    "hf_gemma2": of_words(lambda: hugging("Gemma2ForCausalLM", "Gemma2Config", **GEMMA)),
    "hf_vit": of_images(lambda: hugging("ViTForImageClassification", "ViTConfig", **VIT)),
    "transformer": lambda: Case(network=Seq2Seq(), args=(torch.randn(2, 5, 8), torch.randn(2, 4, 8))),
    "lstm": of_words(lambda: Recurrent(nn.LSTM, bidirectional=True, dropout=0.1)),
    "lstm_projected": of_words(lambda: Recurrent(nn.LSTM, proj_size=5)),
    "gru": of_words(lambda: Recurrent(nn.GRU)),
    "rnn": of_words(lambda: Recurrent(nn.RNN, bias=False)),
    "pointnet_plain": of_points,
    "pointnet": of_clouds(lambda: pointnet(4, 4)),
    "pointnet2": of_clouds(lambda: pointnet2(4, 4)),
    "dgcnn": of_clouds(lambda: dgcnn(4, 4, neighbours=6)),
}
