"""Networks of torchvision: classification, segmentation, detection and video, all of them taking images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import (
    ConvNeXt,
    DenseNet,
    EfficientNet,
    MaxVit,
    MNASNet,
    MobileNetV2,
    RegNet,
    ResNet,
    ShuffleNetV2,
    SwinTransformer,
    VisionTransformer,
    get_model,
)
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.vgg import VGG, make_layers
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.ops import MultiScaleRoIAlign

from .architecture import Architecture

MAPS = {".*": "NC*"}
VGG_WIDTHS = [8, "M", 16, "M", 16, "M", 16, "M"]


class Clip(nn.Module):
    """Shows a video network a clip of the same image, ``[N, C, H, W]`` to ``[N, C, T, H, W]``, brighter each time."""

    def __init__(self, network: nn.Module, frames: int) -> None:
        super().__init__()
        self.network, self.frames = network, frames

    def forward(self, images: Tensor) -> Tensor:
        return self.network(torch.stack([images * (1 + 0.1 * t) for t in range(self.frames)], 2))


class Detector(nn.Module):
    """A detector that gives its detections as one tensor ``[rows, 4]``, as many rows as it found."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([found["boxes"] for found in self.network(list(images))])


def maps(make: Callable[..., nn.Module], *args: Any, size: int = 64, count: int = 16, **options: Any) -> Architecture:
    """A convolutional network: the channel is axis 1 everywhere."""
    return Architecture(partial(make, *args, num_classes=10, **options), MAPS, size, count=count)


def swin(version: int) -> nn.Module:
    new = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2} if version == 2 else {}
    return SwinTransformer([2, 2], 24, [1, 2], [2, 2], [4, 4], num_classes=10, **new)


def efficientnet(kind: str) -> nn.Module:
    config = MBConvConfig if kind == "b" else FusedMBConvConfig
    setting = [config(1, 3, 1, 16, 16, 1), config(4, 3, 2, 16, 24, 2), MBConvConfig(4, 5, 2, 24, 32, 1)]
    return EfficientNet(setting, 0.2, num_classes=10)


def segmenter(name: str, **options: Any) -> Architecture:
    make = partial(get_model, name, weights=None, weights_backbone=None, num_classes=5, aux_loss=True, **options)
    return Architecture(make, MAPS, 64, count=8)


def lraspp() -> nn.Module:
    return get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=5)


def detector(name: str, size: int | None = None) -> nn.Module:
    sizes = {} if size is None else {"min_size": size, "max_size": size}
    return Detector(get_model(name, weights=None, weights_backbone=None, num_classes=4, **sizes))


def small_detector() -> nn.Module:
    """Faster R-CNN on a small backbone, whose proposals depend much on the image."""
    backbone = nn.Sequential(nn.Conv2d(3, 12, 5, 4, 2), nn.ReLU(), nn.Conv2d(12, 12, 3, 2, 1), nn.ReLU())
    backbone.out_channels = 12
    network = FasterRCNN(
        backbone, min_size=64, max_size=64, rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_head=TwoMLPHead(12 * 49, 24), box_predictor=FastRCNNPredictor(24, 4), box_score_thresh=0.25,
        rpn_nms_thresh=0.5, box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
    )  # fmt: skip
    with torch.no_grad():
        for module in (network.rpn.head, network.roi_heads):
            for weight in (parameter for parameter in module.parameters() if parameter.dim() > 1):
                weight.mul_(30)
    return Detector(network)


BACKBONE = {"network/backbone(/.*)?": "NC.."}
ROWS = {".*": "refused"}
"""Proposals, regions of interest and detections: as many rows as the network finds."""


def mvit() -> nn.Module:
    def block(heads: int, width: int, stride: int) -> MSBlockConfig:
        return MSBlockConfig(heads, width, width, [3, 3, 3], [3, 3, 3], [1, stride, stride], [1, 2, 2])

    return MViT((32, 32), 4, [block(1, 24, 1), block(2, 24, 2)], True, False, True, True, num_classes=10)


TORCHVISION = {
    "torchvision alexnet": Architecture(
        partial(torchvision.models.alexnet, num_classes=10), MAPS, 64, count=6
    ),
    "torchvision convnext": Architecture(
        partial(ConvNeXt, [CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 2)], 0.1, num_classes=10),
        {".*/block/[1-5]": "N..C", **MAPS},
    ),
    "torchvision densenet": maps(DenseNet, 8, (2, 2, 2), 16),
    "torchvision densenet, memory efficient": maps(DenseNet, 8, (2, 2, 2), 16, memory_efficient=True),
    "torchvision efficientnet": Architecture(partial(efficientnet, "b"), MAPS, 64),
    "torchvision efficientnet_v2": Architecture(partial(efficientnet, "v2"), MAPS, 64),
    "torchvision googlenet": maps(torchvision.models.GoogLeNet, init_weights=False, aux_logits=False, count=8),
    "torchvision inception_v3": maps(
        torchvision.models.Inception3, init_weights=False, aux_logits=False, size=75, count=6
    ),
    "torchvision maxvit_t at 224": Architecture(
        partial(MaxVit, (224, 224), 16, 7, [16, 24], [1, 1], 8, 0.1, num_classes=10),
        {
            ".*/(partition_op|partition_swap|departition_swap|attn_layer|mlp_layer|stochastic_dropout)(/.*)?": "N..C",
            ".*": "NC*",
        },
        224, count=12,
    ),
    "torchvision mnasnet": maps(MNASNet, 0.35),
    "torchvision mobilenet_v2": maps(MobileNetV2, width_mult=0.35),
    "torchvision mobilenet_v3_small": maps(torchvision.models.mobilenet_v3_small),
    "torchvision regnet_x": maps(RegNet, BlockParams([1, 1, 2], [16, 24, 32], [8, 8, 8], [1.0] * 3, [2, 2, 2])),
    "torchvision regnet_y": maps(
        RegNet, BlockParams([1, 1, 2], [16, 24, 32], [8, 8, 8], [1.0] * 3, [2, 2, 2], se_ratio=0.25)
    ),
    "torchvision resnet18": maps(torchvision.models.resnet18, count=8),
    "torchvision resnet of bottlenecks": maps(ResNet, Bottleneck, [1, 1, 1, 1], width_per_group=8),
    "torchvision resnext": maps(ResNet, Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=4),
    "torchvision resnet, basic, one class": Architecture(partial(ResNet, BasicBlock, [1, 1, 1, 1], 1), MAPS, count=8),
    "torchvision shufflenet": maps(ShuffleNetV2, [2, 2, 2], [24, 24, 48, 96, 64]),
    "torchvision squeezenet1_1": maps(torchvision.models.squeezenet1_1),
    "torchvision vgg": Architecture(lambda: VGG(make_layers(VGG_WIDTHS), 10, False).features, MAPS),
    "torchvision vgg with batch norm": Architecture(lambda: VGG(make_layers(VGG_WIDTHS, True), 10).features, MAPS),
    "torchvision swin_t": Architecture(
        partial(swin, 1), {"features/0/0|permute|avgpool|flatten": "NC*", ".*": "N*C"}
    ),
    "torchvision swin_v2_t": Architecture(
        partial(swin, 2), {".*/cpb_mlp(/.*)?": "refused", "features/0/0|permute|avgpool|flatten": "NC*", ".*": "N*C"}
    ),
    "torchvision vit_b_16": Architecture(
        partial(VisionTransformer, 64, 16, 3, 2, 24, 48, num_classes=10), {"conv_proj": "NC..", ".*": "N*C"}
    ),
    "torchvision fcn": segmenter("fcn_resnet50"),
    "torchvision deeplabv3": segmenter("deeplabv3_mobilenet_v3_large"),
    "torchvision lraspp": Architecture(lraspp, MAPS, 64, count=10),
    "torchvision fasterrcnn": Architecture(
        partial(detector, "fasterrcnn_mobilenet_v3_large_320_fpn", 96),
        {**BACKBONE, "network/rpn/head(/.*)?": "NC..", **ROWS}, 96,
        draw=("network/backbone/body/0", "network/backbone/body/4/block/0", "network/backbone/body/13",
              "network/backbone/fpn/inner_blocks/1", "network/backbone/fpn/layer_blocks/0/0", "network/backbone",
              "network/rpn/head/conv/0", "network/rpn/head/cls_logits", "network/rpn"),
        alone=True,
    ),
    "torchvision fasterrcnn, a small one": Architecture(
        small_detector, {**BACKBONE, "network/rpn/head(/.*)?": "NC..", **ROWS}, 64,
        draw=("network/backbone/0", "network/backbone/1", "network/backbone", "network/rpn/head/conv/0",
              "network/rpn/head/bbox_pred", "network/rpn", "network/roi_heads/box_roi_pool",
              "network/roi_heads/box_head/fc6", "network/roi_heads/box_predictor", ""),
        alone=True,
    ),
    "torchvision retinanet": Architecture(
        partial(detector, "retinanet_resnet50_fpn", 64),
        {**BACKBONE, "network/head/.*/(conv|cls_logits|bbox_reg)(/.*)?": "NC..", **ROWS}, 64,
        draw=("network/backbone/body/layer1/0", "network/backbone/body/layer3", "network/backbone/fpn",
              "network/head/classification_head/conv/0", "network/head/classification_head/cls_logits"),
        alone=True,
    ),
    "torchvision ssdlite": Architecture(
        partial(detector, "ssdlite320_mobilenet_v3_large"),
        {**BACKBONE, "network/head/.*/module_list(/.*)?": "NC..", **ROWS}, 320,
        draw=("network/backbone/features/0/0/0", "network/backbone/features/0/8", "network/backbone/extra/1",
              "network/head/classification_head/module_list/0"),
        alone=True,
    ),
    "torchvision r3d_18": Architecture(
        lambda: Clip(torchvision.models.video.r3d_18(num_classes=10), 4), MAPS, 32, count=6
    ),
    "torchvision r2plus1d": Architecture(
        lambda: Clip(torchvision.models.video.r2plus1d_18(num_classes=10), 4), MAPS, 32, count=6
    ),
    "torchvision swin3d": Architecture(
        lambda: Clip(torchvision.models.video.SwinTransformer3d(
            [2, 4, 4], 24, [1, 2], [2, 2], [2, 4, 4], num_classes=10), 4),
        {"network/patch_embed/proj": "NC...", "network/avgpool": "NC...", ".*": "N*C"}, 32,
    ),
    "torchvision mvit": Architecture(
        lambda: Clip(mvit(), 4),
        {
            "network/conv_proj": "NC...", ".*/pool_skip/pool": "NC...", ".*/pool_skip": "N.C",
            ".*/pool_[qkv]/pool": "WC...|refused", ".*/pool_[qkv](/norm_act(/.*)?)?": "N..C|refused", ".*": "N*C",
        }, 32,
    ),
}  # fmt: skip
