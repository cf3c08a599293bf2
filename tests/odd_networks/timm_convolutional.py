"""Convolutional networks of timm: the channel is axis 1 everywhere, in maps and in vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from timm.models.convmixer import ConvMixer
from timm.models.vgg import VGG
from torch import nn

from .architecture import Architecture

MAPS = {"SelectiveKernelAttn": "N.C..|refused", ".*": "NC*"}

EFFICIENT_ATTENTION = {".*/se/conv": "NC.|refused", ".*/se/gate": "N.C|refused", **MAPS}
"""A one-channel convolution along the channels, ``[N, 1, C]``, whose sigmoid scales these."""

VGG_WIDTHS = [8, "M", 16, "M", 16, "M", 16, "M"]


def convolutional(name: str, size: int = 64, truth: dict[str, str] | None = None, **options: Any) -> Architecture:
    fields = {key: options.pop(key) for key in ("count", "options") if key in options}
    make = partial(timm.create_model, name, num_classes=10, **options)
    return Architecture(make, truth or MAPS, size, **fields)


TIMM_CONVOLUTIONAL = {
    "convmixer": Architecture(partial(ConvMixer, 32, 4, num_classes=10), MAPS),
    "convnext with convolutional MLP": convolutional("convnext_atto_ols", depths=(1, 1, 2, 1)),
    "cs3darknet with focus": convolutional("cs3darknet_focus_s"),
    "cspresnet50": convolutional("cspresnet50", count=8),
    "darknet (test_byobnet)": convolutional("test_byobnet"),
    "densenet": convolutional("densenet121", block_config=(2, 2, 2, 2), growth_rate=8),
    "densenet, memory efficient": convolutional(
        "densenet121", block_config=(2, 2, 2, 2), growth_rate=8, memory_efficient=True
    ),
    "densenetblur121d": convolutional("densenetblur121d", block_config=(2, 2, 2, 2), growth_rate=8),
    "dla46_c": convolutional("dla46_c"),
    "dla60_res2net": convolutional("dla60_res2net", channels=[16, 16, 32, 32, 64, 64], levels=[1, 1, 1, 1, 1, 1]),
    "dpn48b": convolutional("dpn48b", k_sec=(1, 2, 2, 1)),
    "efficientnet (test_efficientnet)": convolutional("test_efficientnet"),
    "efficientnet with group norm": convolutional("test_efficientnet_gn"),
    "efficientnet_b0": convolutional("efficientnet_b0", count=12),
    "efficientnet_lite0": convolutional("efficientnet_lite0"),
    "fbnetv3_b": convolutional("fbnetv3_b"),
    "gernet_s": convolutional("gernet_s", count=8),
    "ghostnet_050": convolutional("ghostnet_050"),
    "ghostnetv2_100": convolutional("ghostnetv2_100", count=8),
    "hardcorenas_a": convolutional("hardcorenas_a"),
    "hgnetv2_b0": convolutional("hgnetv2_b0"),
    "hrnet_w18_small": convolutional("hrnet_w18_small", count=8),
    "inception_v3": convolutional("inception_v3", 75, count=8),
    "inception_v4": convolutional("inception_v4", 75, count=6),
    "inception_resnet_v2": convolutional("inception_resnet_v2", 75, count=6),
    "lcnet_035": convolutional("lcnet_035"),
    "mixnet_s": convolutional("mixnet_s"),
    "mnasnet_small": convolutional("mnasnet_small"),
    "mobilenetv1_100": convolutional("mobilenetv1_100"),
    "mobilenetv2_035": convolutional("mobilenetv2_035"),
    "mobilenetv3_small_050": convolutional("mobilenetv3_small_050"),
    "mobilenetv4_conv_small": convolutional("mobilenetv4_conv_small"),
    "mobileone_s0": convolutional("mobileone_s0", count=8),
    "nasnet": convolutional("nasnetalarge", 64, stem_size=24, num_features=192),
    "nfnet (test_nfnet)": convolutional("test_nfnet"),
    "nf_regnet_b0": convolutional("nf_regnet_b0", count=8),
    "pnasnet5large": convolutional("pnasnet5large", 64, count=4),
    "rdnet": convolutional("rdnet_tiny", count=8),
    "regnetx_002": convolutional("regnetx_002"),
    "regnety_002": convolutional("regnety_002"),
    "repghostnet_050": convolutional("repghostnet_050"),
    "repvgg_a0": convolutional("repvgg_a0", count=8),
    "repvit_m0_9": convolutional("repvit_m0_9"),
    "res2net50_14w_8s": convolutional("res2net50_14w_8s", layers=(1, 1, 1, 1), channels=(16, 32, 32, 64)),
    "resnest14d": convolutional("resnest14d", channels=(16, 32, 32, 64)),
    "resnet10t": convolutional("resnet10t"),
    "resnet with antialiasing": convolutional("resnetblur50", layers=(1, 1, 1, 1), channels=(16, 32, 32, 64)),
    "seresnet18": convolutional("seresnet18", channels=(16, 32, 32, 64)),
    "ecaresnet26t": convolutional("ecaresnet26t", 64, EFFICIENT_ATTENTION, channels=(16, 32, 32, 64)),
    "resnetv2_18": convolutional("resnetv2_18", count=8),
    "resnetv2 of big transfer": convolutional("resnetv2_50x1_bit", count=5),
    "rexnet_100": convolutional("rexnet_100"),
    "selecsls42": convolutional("selecsls42", count=8),
    "legacy_seresnet18": convolutional("legacy_seresnet18", count=8),
    "skresnet18": convolutional("skresnet18", channels=(16, 32, 32, 64)),
    "starnet_s050": convolutional("starnet_s050"),
    "tinynet_e": convolutional("tinynet_e"),
    "tresnet_m": convolutional("tresnet_m", layers=[1, 1, 2, 1], width_factor=0.5),
    "vgg": Architecture(partial(VGG, VGG_WIDTHS, num_classes=10, mlp_ratio=0.02), MAPS),
    "vgg with batch norm": Architecture(
        partial(VGG, VGG_WIDTHS, num_classes=10, mlp_ratio=0.02, norm_layer=nn.BatchNorm2d), MAPS
    ),
    "ese_vovnet19b_slim": convolutional("ese_vovnet19b_slim"),
    "xception41": convolutional("xception41", count=8),
    "xception": convolutional("legacy_xception", count=8),
    "gcresnet (global context)": convolutional("gcresnext26ts"),
}
