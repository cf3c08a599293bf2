"""Networks of timm that mix layouts: maps ``[N, C, H, W]``, and within some blocks tokens or maps ``[N, H, W, C]``."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture, first_wins
from .timm_convolutional import convolutional
from .timm_tokens import HEADS, IN_WINDOWS, KINDS, TABLES


def hybrid(name: str, size: int = 64, exceptions: dict[str, str] | None = None, **options: Any) -> Architecture:
    """Channel at axis 1, with exceptions."""
    return convolutional(name, size, first_wins(exceptions or {}, TABLES, HEADS, KINDS, {".*": "NC*"}), **options)


CONVNEXT_BLOCKS = {r".*/blocks/\d+/(norm|mlp(/.*)?)": "N..C"}
"""A depthwise convolution, then LayerNorm and MLP on ``[N, H, W, C]``, then back."""

WINDOWS_IN_MAPS = {**TABLES, **IN_WINDOWS, ".*/(attn_block|grid_attn)(/.*)?": "N..C"}
"""Blocks of MaxViT permute maps to ``[N, H, W, C]``, cut them into windows or grids and put them back."""

TIMM_HYBRIDS = {
    "pvt_v2": hybrid("pvt_v2_b0", 64, {
        r".*/attn/sr|.*/dwconv|.*/mlp/relu|.*/proj(?<!attn/proj)": "NC..", r"stages(/\d)?": "NC..",
        r"stages/\d/(downsample|blocks|norm)(/.*)?|patch_embed(/.*)?": "N*C",
    }),
    "pvt_v2, linear": hybrid("pvt_v2_b2_li", 64, {
        r".*/attn/(sr|pool)|.*/dwconv|.*/mlp/relu|.*/proj(?<!attn/proj)": "NC..", r"stages(/\d)?": "NC..",
        r"stages/\d/(downsample|blocks|norm)(/.*)?|patch_embed(/.*)?": "N*C",
    }, depths=(1, 1, 1, 1), embed_dims=(16, 32, 32, 64), num_heads=(1, 2, 2, 4)),
    "levit_conv": hybrid("levit_conv_128s", img_size=64),
    "focalnet": hybrid("focalnet_tiny_srf", count=8),
    "convnext (test_convnext)": hybrid("test_convnext", 64, CONVNEXT_BLOCKS),
    "convnextv2": hybrid("convnextv2_atto", depths=(1, 1, 1, 1)),
    "edgenext": hybrid("edgenext_xx_small", 64, {".*/(xca|norm_xca)(/.*)?": "N*C", **CONVNEXT_BLOCKS}),
    "inception_next": hybrid("inception_next_atto", depths=(1, 1, 1, 1)),
    "davit": hybrid("davit_tiny", 64, {
        ".*/0/attn(/.*)?": "W*C", ".*/(attn|norm[12]|mlp|drop_path[12])(/.*)?": "N*C",
    }, embed_dims=(24, 32, 32, 64), num_heads=(2, 2, 2, 4), window_size=4),
    "efficientformer": hybrid(
        "efficientformer_l1", 224, {r"stages/3/blocks/[12](/.*)?|norm": "N*C"},
        depths=(1, 1, 1, 2), embed_dims=(16, 24, 24, 32),
    ),
    "efficientformerv2": hybrid("efficientformerv2_s0", img_size=64),
    "efficientvit_b0": hybrid("efficientvit_b0"),
    "efficientvit_m0": hybrid("efficientvit_m0", 128, {".*/m/attn(/.*)?": "WC.."}, img_size=128),
    "efficientvim": hybrid("efficientvim_m1"),
    "fasternet": hybrid("fasternet_t0"),
    "fastvit_t8": hybrid("fastvit_t8"),
    "fastvit_sa12": hybrid("fastvit_sa12", 64, {".*/token_mixer/(qkv|proj|proj_drop)": "N.C"}),
    "gcvit": hybrid("gcvit_xxtiny", 64, {
        ".*/attn/rel_pos": "WC..|refused",
        **IN_WINDOWS, r"stages/\d/(blocks/\d+(/.*)?|norm|global_norm)": "N..C",
    }, img_size=64, count=12),
    "iformer": hybrid("iformer_t"),
    "mobilevit_xxs": hybrid("mobilevit_xxs", 64, {r".*/transformer(/.*)?|stages/\d/1/norm": "W*C"}),
    "mobilevitv2_050": hybrid("mobilevitv2_050"),
    "nest": hybrid("nest_tiny", 64, {".*/transformer_encoder(/.*)?|.*/pool/norm|norm": "N*C"}, img_size=64, count=12),
    "nextvit": hybrid("nextvit_small", 64, {".*/e_mhsa(/([qkv]|proj|proj_drop))?": "N.C"}, count=8),
    "poolformer": hybrid("poolformer_s12", count=8),
    "poolformerv2": hybrid("poolformerv2_s12", count=8),
    "convformer": hybrid("convformer_s18", count=5),
    "caformer": hybrid("caformer_s18", 64, {"stages/[23]/blocks(/.*)?": "N.C"}, count=6),
    "shvit_s1": hybrid("shvit_s1"),
    "swiftformer": hybrid("swiftformer_xs", 64, {".*/attn/(to_query|to_key|proj|final)": "N.C"}),
    "tiny_vit": hybrid("tiny_vit_5m_224", 64, {
        r"stages/[123]/blocks/\d+/attn(/.*)?": "W.C", r".*/local_conv(/.*)?": "NC..",
        r"stages/[123]/blocks(/.*)?": "N*C",
    }, embed_dims=(16, 32, 32, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_sizes=(4, 4, 4, 2)),
    "visformer": hybrid("visformer_tiny", img_size=64),
    "maxvit (test_maxvit)": hybrid("test_maxvit", 64, WINDOWS_IN_MAPS, img_size=64),
    "maxvit_pico": hybrid("maxvit_rmlp_pico_rw_256", 64, WINDOWS_IN_MAPS, img_size=64),
    "maxvit_tiny, of TensorFlow": hybrid("maxvit_tiny_tf_224", 64, WINDOWS_IN_MAPS, img_size=64, count=6),
    "maxxvit_nano": hybrid("maxxvit_rmlp_nano_rw_256", 64, WINDOWS_IN_MAPS, img_size=64, count=8),
    "coatnet (test_coatnet)": hybrid("test_coatnet", img_size=64),
    "coatnext_nano": hybrid("coatnext_nano_rw_224", img_size=64, count=8),
    "lowformer": hybrid("lowformer_b0", count=8),
    "botnet26t": hybrid("botnet26t_256", img_size=64, count=6),
    "halonet26t": hybrid("halonet26t", 256, count=6),
    "lambda_resnet26t": hybrid("lambda_resnet26t", count=12),
    "bat_resnext26ts": hybrid("bat_resnext26ts", 256, count=6),
}  # fmt: skip
