"""Vision transformers and MLPs of timm: channels last, in tokens ``[N, T, C]`` or maps ``[N, H, W, C]``."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture, first_wins
from .timm_convolutional import convolutional

TABLES = {".*/(rel_pos|cpb_mlp|meta_mlp|pos_embe?d|token_projection)(/.*)?|pos_embed(/.*)?": "refused"}
"""What computes position biases does not depend on the image."""

HEADS = {".*/([qk]_norm|norm_[qkv])": "N..C|refused", ".*/(attn_drop|softmax)": "NC*|refused"}
"""Queries and keys ``[N, heads, T, C]`` and attention weights ``[N, heads, T, T]`` have two axes besides the tokens."""

IN_WINDOWS = {".*attn/(attn_drop|softmax)": "WC..|refused", ".*/attn(/.*)?": "W*C"}
"""Attention within windows, ``[N * windows, T, C]``: every window partition of timm keeps the pictures outermost."""

KINDS = {
    r"(Std)?Conv[123]d.*|BatchNorm(Act)?[12]d|LayerNorm(Act)?2d|GroupNorm.*|\w*Pool[12]d.*": "NC*",
    "LayerNorm": "N*C",
}
"""Modules that work on one layout alone."""

TOKENS = {**TABLES, **HEADS, **KINDS, ".*": "N*C"}
WINDOWS = {**TABLES, **IN_WINDOWS, **TOKENS}


def tokens(name: str, size: int = 64, exceptions: dict[str, str] | None = None, **options: Any) -> Architecture:
    """Channel last, with exceptions; ``img_size`` of the network is the size of the pictures."""
    return convolutional(name, size, first_wins(exceptions or {}, TOKENS), img_size=size, **options)


def windows(name: str, size: int = 64, exceptions: dict[str, str] | None = None, **options: Any) -> Architecture:
    """Channel last, attention within windows, with exceptions."""
    return convolutional(name, size, first_wins(exceptions or {}, WINDOWS), img_size=size, **options)


MIXED = {".*/mlp_tokens/(fc[12]|act|drop1|norm|gate)": "N.C|refused", ".*/mlp_tokens(/drop2)?": "NC.|refused"}
"""MLPs over tokens see ``[N, C, T]``; within, their fully connected layers have units along the tokens."""

SMALL_SWIN = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 2)}
SMALL_VIT = {"embed_dim": 24, "depth": 3}

TIMM_TOKENS = {
    "vit (test_vit)": tokens("test_vit"),
    "vit_tiny": tokens("vit_tiny_patch16_224", **SMALL_VIT),
    "vit with registers and average pooling": tokens("test_vit2", reg_tokens=4),
    "vit with relative positions": tokens("test_vit_relpos"),
    "vit with parallel blocks": tokens("vit_small_patch16_36x1_224", embed_dim=24, depth=3),
    "vit hybrid (ResNet stem)": tokens(
        "vit_tiny_r_s16_p8_224", 64, {"patch_embed/backbone(/.*)?": "NC*"}, depth=3
    ),
    "vit of SigLIP (attention pool)": tokens("vit_base_patch16_siglip_224", **SMALL_VIT),
    "vit of SAM": windows(
        "samvit_base_patch16_224", 64, {"neck(/.*)?|head/.*": "NC*"}, embed_dim=24, depth=3, window_size=2
    ),
    "vitamin (convolutional stem)": tokens(
        "vitamin_small_224", 64, {"patch_embed/backbone(/.*)?": "NC*"}, depth=2
    ),
    "beit": tokens("beit_base_patch16_224", **SMALL_VIT),
    "cait": tokens("cait_xxs24_224", num_heads=4, **SMALL_VIT),
    "coat_tiny": tokens(
        "coat_tiny", 64, {"aggregate": "NC.|refused", "ConvRelPosEnc": "N..C|refused"},
        embed_dims=(16, 24, 24, 24), serial_depths=(1, 1, 1, 1), parallel_depth=2,
    ),
    "coat_lite": tokens(
        "coat_lite_tiny", 64, {"ConvRelPosEnc": "N..C|refused"},
        embed_dims=(16, 16, 24, 32), serial_depths=(1, 1, 1, 1),
    ),
    "convit": tokens("convit_tiny", embed_dim=24, depth=4, local_up_to_layer=2),
    "crossvit": tokens("crossvit_9_240", 240, count=8, embed_dim=(24, 48)),
    "deit, distilled": tokens("deit_tiny_distilled_patch16_224", **SMALL_VIT),
    "deit3": tokens("deit3_small_patch16_224", **SMALL_VIT),
    "eva02": tokens("eva02_tiny_patch14_224", 56, **SMALL_VIT),
    "eva with rotary positions": tokens("vit_small_patch16_rope_224", **SMALL_VIT),
    "dinov3": tokens("vit_small_patch16_dinov3", **SMALL_VIT),
    "mixer": tokens("mixer_s32_224", 96, MIXED, count=8),
    "gmixer": tokens("gmixer_12_224", 64, MIXED, count=8),
    "gmlp": tokens("gmlp_ti16_224", 64, {".*/mlp_channels/(act|drop1)": "N*C|refused"}),
    "resmlp": tokens("resmlp_12_224"),
    "levit": tokens(
        "levit_128s", 64, {"stem(/.*)?": "NC..", "head/bn": "NC", "BatchNorm1d": "WC|refused"}
    ),
    "mvitv2": tokens(
        "mvitv2_tiny", 64, {".*/attn/pool_[qkv]": "WC..|refused"}
    ),
    "mvitv2 with a class token": tokens(
        "mvitv2_small_cls", 64, {".*/attn/pool_[qkv]": "WC..|refused"}, count=6
    ),
    "naflexvit": Architecture(convolutional("naflexvit_base_patch16_gap", **SMALL_VIT).make, TOKENS),
    "pit": tokens("pit_ti_224", 64, {r"transformers(/\d+)?|.*/pool(/conv)?|patch_embed(/.*)?|pos_drop": "NC.."}),
    "pit, distilled": tokens(
        "pit_ti_distilled_224", 64, {r"transformers(/\d+)?|.*/pool(/conv)?|patch_embed(/.*)?|pos_drop": "NC.."}
    ),
    "sequencer2d": tokens("sequencer2d_s", 63, {".*/rnn_[vh]": "W.C"}, layers=(1, 1, 1, 1)),
    "tnt": tokens(
        "tnt_s_legacy_patch16_224", 64,
        {
            "pixel_embed/unfold": "NC.|refused",
            "pixel_embed|.*/(norm_in|attn_in|norm_mlp_in|mlp_in)(/.*)?|Block": "W.C",
        }, depth=3,
    ),
    "twins_pcpvt": tokens("twins_pcpvt_small", 64, {r"pos_block/\d/proj": "NC.."}, depths=(1, 1, 1, 1)),
    "twins_svt": tokens("twins_svt_small", 64, {r"pos_block/\d/proj": "NC.."}, depths=(1, 1, 2, 1)),
    "volo": tokens("volo_d1_224", 64, {"patch_embed(/.*)?": "NC..", ".*/unfold": "NC."}, count=8),
    "xcit": tokens("xcit_nano_12_p8_224", 64, {"patch_embed/proj/.*|.*/local_mp/.*": "NC.."}, depth=3),
    "hiera": tokens("hiera_tiny_224", stages=(1, 1, 1, 1)),
    "hieradet of SAM 2": Architecture(
        convolutional("hieradet_small", stages=(1, 1, 2, 1)).make, {".*/attn/q_pool": "WC..", **WINDOWS}
    ),
    "swin": windows("swin_tiny_patch4_window7_224", **{**SMALL_SWIN, "depths": (2, 2, 2), "num_heads": (2, 2, 2)}),
    "swin with padded windows": windows("swin_tiny_patch4_window7_224", 56, **{**SMALL_SWIN, "window_size": 5}),
    "swin_s3": windows(
        "swin_s3_tiny_224", embed_dim=24, depths=(1, 2, 2, 1), num_heads=(2, 2, 2, 2), window_size=(4, 4, 4, 2)
    ),
    "swinv2": windows("swinv2_tiny_window8_256", **SMALL_SWIN),
    "swinv2_cr": windows(
        "swinv2_cr_tiny_224", 64, {r"stages(/\d+)?|patch_embed(/proj)?": "NC.."}, **SMALL_SWIN
    ),
    "mambaout (test_mambaout)": Architecture(convolutional("test_mambaout").make, {"stem/act": "NC..", **TOKENS}),
}  # fmt: skip
