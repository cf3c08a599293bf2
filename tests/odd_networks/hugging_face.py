"""Vision networks of Hugging Face transformers, from small configurations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import transformers
from torch import nn

from .architecture import Architecture

TABLES = {
    ".*(relative_position_bias|continuous_position_bias_mlp)(/.*)?": "refused",
    ".*(rope_embeddings|position_embedding|interpolation)": "refused",
}
"""What computes position biases does not depend on the image."""

ATTENTION = {".*/attention/((self|attention)/dropout|attn_drop)": "NC..|refused"}
KINDS = {r"Conv[12]d|BatchNorm2d|\w*Pool[12]d|GroupNorm": "NC*"}
TOKENS = {**TABLES, **ATTENTION, **KINDS, ".*": "N*C"}
WINDOWS = {**TABLES, ".*/attention/self/dropout": "WC..|refused", ".*/attention(/.*)?": "W.C", **TOKENS}
MAPS = {".*": "NC*"}
"""Channel last, attention within windows (pictures outermost), and channel at axis 1."""

SWIFT = {".*/attn(/(to_query|to_key|proj|final))?": "N.C", **MAPS}
CONVNEXT = {r".*/layers/\d/(layernorm|pwconv[12]|act|grn)": "N..C", **MAPS}
SEGFORMER = {r"segformer(/stages/\d)?|decode_head(/(activation|dropout|batch_norm))?|": "NC..", **TOKENS}
GLPN = {"glpn|glpn/encoder|decoder(/.*)?|head/head(/.*)?": "NC..", "head|": "refused", **TOKENS}
DPT = {r"neck/reassemble_stage/layers.*|neck/fusion_stage/.*|neck|head/head.*": "NC..", "head|": "refused", **TOKENS}
"""Depth maps ``[N, H, W]`` have no channels."""

MOBILEVIT = {
    ".*/transformer/.*/attention/attention/dropout": "WC..|refused",
    r".*/(transformer|layernorm)(/.*)?": "W.C", **MAPS,
}  # fmt: skip
LEVIT = {
    ".*patch_embeddings/.*": "NC..", "classifier(_distill)?/batch_norm": "NC", "BatchNorm1d": "WC|refused", **TOKENS
}  # fmt: skip
CVT = {
    r"cvt|cvt/encoder|cvt/encoder/stages/\d|.*/embedding(/dropout)?|.*/convolution_embeddings": "NC..",
    ".*/convolution_projection": "NC..", **TOKENS,
}  # fmt: skip
PVT_V2 = {"pvt_v2|pvt_v2/encoder": "NC..", **TOKENS}
FOCALNET = {".*/focal_layers/.*|.*/projection_context": "NC..", **TOKENS}
SAM = {r".*/layers/\d/attn(/.*)?": "W*C", ".*neck(/.*)?|vision_encoder|": "NC..", **TOKENS}

VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
SWIN = {
    "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4, "image_size": 64, "patch_size": 4,
}  # fmt: skip


def made(network: str, config: str, options: Mapping[str, Any], **more: Any) -> nn.Module:
    config = getattr(transformers, config)(**options)
    return getattr(transformers, network)(config, **more)


def hugging_face(
    network: str, config: str, truth: Mapping[str, str], size: int = 32, more: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None, **options: Any,
) -> Architecture:  # fmt: skip
    """A network from a configuration's ``options``, called with ``more``."""
    return Architecture(partial(made, network, config, options, **(more or {})), truth, size, **(fields or {}))


HUGGING_FACE = {
    "hf ViT": hugging_face("ViTForImageClassification", "ViTConfig", TOKENS, **VIT),
    "hf ViT, its features": hugging_face("ViTModel", "ViTConfig", TOKENS, more={"add_pooling_layer": False}, **VIT),
    "hf DeiT": hugging_face("DeiTForImageClassification", "DeiTConfig", TOKENS, **VIT),
    "hf BEiT": hugging_face("BeitForImageClassification", "BeitConfig", TOKENS, **VIT),
    "hf BEiT, relative positions": hugging_face(
        "BeitModel", "BeitConfig", TOKENS, use_relative_position_bias=True, **VIT
    ),
    "hf DINOv2": hugging_face("Dinov2ForImageClassification", "Dinov2Config", TOKENS, **VIT),
    "hf DINOv2 with registers": hugging_face("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", TOKENS, **VIT),
    "hf DINOv3": hugging_face("DINOv3ViTModel", "DINOv3ViTConfig", TOKENS, **VIT),
    "hf IJEPA": hugging_face("IJepaModel", "IJepaConfig", TOKENS, **VIT),
    "hf Swin": hugging_face("SwinForImageClassification", "SwinConfig", WINDOWS, 64, **SWIN),
    "hf Swin, its features": hugging_face("SwinModel", "SwinConfig", WINDOWS, 64, **SWIN),
    "hf Swinv2": hugging_face("Swinv2ForImageClassification", "Swinv2Config", WINDOWS, 64, **SWIN),
    "hf Donut Swin": hugging_face("DonutSwinModel", "DonutSwinConfig", WINDOWS, 64, **SWIN),
    "hf ConvNext": hugging_face(
        "ConvNextForImageClassification", "ConvNextConfig", CONVNEXT, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1],
    ),
    "hf ConvNextV2": hugging_face(
        "ConvNextV2ForImageClassification", "ConvNextV2Config", CONVNEXT, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1],
    ),
    "hf SegFormer": hugging_face(
        "SegformerForSemanticSegmentation", "SegformerConfig", SEGFORMER, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=24,
    ),
    "hf GLPN (depth)": hugging_face(
        "GLPNForDepthEstimation", "GLPNConfig", GLPN, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16,
    ),
    "hf MobileNetV1": hugging_face(
        "MobileNetV1ForImageClassification", "MobileNetV1Config", MAPS, 64,
        depth_multiplier=0.25,
    ),
    "hf MobileNetV2": hugging_face(
        "MobileNetV2ForImageClassification", "MobileNetV2Config", MAPS, 64,
        depth_multiplier=0.35,
    ),
    "hf EfficientNet": hugging_face(
        "EfficientNetModel", "EfficientNetConfig", MAPS, 64,
        width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320,
    ),
    "hf MobileViT": hugging_face(
        "MobileViTForImageClassification", "MobileViTConfig", MOBILEVIT, 64,
        hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 64], num_attention_heads=2,
    ),
    "hf MobileViTV2": hugging_face(
        "MobileViTV2ForImageClassification", "MobileViTV2Config", MAPS, 64,
        width_multiplier=0.25,
    ),
    "hf ResNet": hugging_face(
        "ResNetForImageClassification", "ResNetConfig", MAPS, 64,
        embedding_size=8, hidden_sizes=[8, 12, 16], depths=[1, 1, 1], layer_type="basic",
    ),
    "hf RegNet": hugging_face(
        "RegNetForImageClassification", "RegNetConfig", MAPS, 64,
        embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], groups_width=4,
    ),
    "hf BiT": hugging_face(
        "BitForImageClassification", "BitConfig", MAPS, 64,
        embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], num_groups=8,
    ),
    "hf PoolFormer": hugging_face(
        "PoolFormerForImageClassification", "PoolFormerConfig", MAPS, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1],
    ),
    "hf LeViT": hugging_face("LevitForImageClassification", "LevitConfig", LEVIT, 64, image_size=64),
    "hf CvT": hugging_face(
        "CvtForImageClassification", "CvtConfig", CVT, 64,
        embed_dim=[16, 24, 32], num_heads=[1, 2, 2], depth=[1, 2, 3],
    ),
    "hf PVT": hugging_face(
        "PvtForImageClassification", "PvtConfig", TOKENS, 64, image_size=64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4],
    ),
    "hf PVTv2": hugging_face(
        "PvtV2ForImageClassification", "PvtV2Config", PVT_V2, 64,
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4],
    ),
    "hf FocalNet": hugging_face(
        "FocalNetModel", "FocalNetConfig", FOCALNET, 64,
        embed_dim=16, depths=[1, 1], image_size=64, focal_levels=[2, 2], focal_windows=[3, 3],
    ),
    "hf Hiera": hugging_face(
        "HieraModel", "HieraConfig", TOKENS, 64,
        image_size=[64, 64], embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4],
    ),
    "hf SwiftFormer": hugging_face(
        "SwiftFormerModel", "SwiftFormerConfig", SWIFT, 64,
        depths=[1, 1, 1, 1], embed_dims=[16, 24, 32, 40],
    ),
    "hf CLIPVisionModel": hugging_face("CLIPVisionModel", "CLIPVisionConfig", TOKENS, **VIT),
    "hf SiglipVisionModel": hugging_face("SiglipVisionModel", "SiglipVisionConfig", TOKENS, **VIT),
    "hf ViTMAE": hugging_face(
        "ViTMAEModel", "ViTMAEConfig", TOKENS, fields={"noisy": True}, mask_ratio=0.0, **VIT
    ),
    "hf YOLOS": hugging_face(
        "YolosForObjectDetection", "YolosConfig", TOKENS, 32, num_detection_tokens=5, **{**VIT, "image_size": [32, 32]}
    ),
    "hf DPT (depth)": hugging_face(
        "DPTForDepthEstimation", "DPTConfig", DPT, neck_hidden_sizes=[8, 12, 16, 16], fusion_hidden_size=16,
        backbone_out_indices=[0, 1, 2, 3], **{**VIT, "num_hidden_layers": 4, "patch_size": 8},
    ),
    "hf SAM vision encoder": hugging_face(
        "SamVisionModel", "SamVisionConfig", SAM, 64, image_size=64, patch_size=8, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=2, mlp_dim=48, output_channels=16, window_size=4, global_attn_indexes=[1], num_pos_feats=12,
    ),
}  # fmt: skip
