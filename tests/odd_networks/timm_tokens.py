"""Vision transformers and MLPs of timm, and hybrids: tokens ``[N, T, C]``, maps ``[N, C, H, W]`` or ``[N, H, W, C]``."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture
from .timm_convolutional import convolutional

HEADS = {".*/[qk]_norm": "N..C|refused", ".*/(attn_drop|softmax)": "NC..|refused"}
"""Queries and keys ``[N, heads, T, C]`` and attention weights ``[N, heads, T, T]`` have two axes besides the tokens."""

MAPS = {".*Conv2d.*|.*BatchNorm2d|.*patch_embed/proj": "NC..", "Conv3d": "NC...", "BatchNorm1d": "NC*"}
TABLES = {".*/(rel_pos|cpb_mlp|meta_mlp).*": "refused"}
"""Small networks that compute position biases do not depend on the image."""

TOKENS = {**TABLES, **MAPS, **HEADS, ".*": "N*C"}
WINDOWS = {**TABLES, ".*attn/(attn_drop|softmax)": "WC..|refused", ".*/attn(/.*)?": "W*C", **TOKENS}
"""Attention within windows, ``[N * windows, T, C]``; around it maps ``[N, H, W, C]`` or tokens."""


def tokens(name: str, size: int = 64, truth: dict[str, str] | None = None, **options: Any) -> Architecture:
    return convolutional(name, size, truth or TOKENS, **options)


TIMM_TOKENS = {
    "vit (test_vit)": tokens("test_vit", img_size=64),
    "vit_tiny": tokens("vit_tiny_patch16_224", img_size=64, embed_dim=24, depth=3),
    "vit with registers and average pooling": tokens("test_vit2", img_size=64, reg_tokens=4),
    "vit with relative positions": tokens("test_vit_relpos", img_size=64),
    "vit hybrid (ResNet stem)": tokens("vit_tiny_r_s16_p8_224", img_size=64, depth=3),
    "vit of SigLIP (attention pool)": tokens("vit_base_patch16_siglip_224", img_size=64, embed_dim=24, depth=3),
    "vit of SAM": tokens("samvit_base_patch16_224", 64, WINDOWS, img_size=64, embed_dim=24, depth=3, window_size=2),
    "beit": tokens("beit_base_patch16_224", img_size=64, embed_dim=24, depth=3),
    "cait": tokens("cait_xxs24_224", img_size=64, embed_dim=24, depth=3, num_heads=4),
    "coat_tiny": tokens("coat_tiny", 64, {"aggregate": "NC.|refused"} | TOKENS, img_size=64, embed_dims=(16, 24, 24, 24), serial_depths=(1, 1, 1, 1), parallel_depth=2),
    "coat_lite": tokens("coat_lite_tiny", img_size=64, embed_dims=(16, 16, 24, 32), serial_depths=(1, 1, 1, 1)),
    "convit": tokens("convit_tiny", img_size=64, embed_dim=24, depth=4, local_up_to_layer=2),
    "crossvit": tokens("crossvit_9_240", 240, embed_dim=(24, 48)),
    "deit, distilled": tokens("deit_tiny_distilled_patch16_224", img_size=64, embed_dim=24, depth=3),
    "deit3": tokens("deit3_small_patch16_224", img_size=64, embed_dim=24, depth=3),
    "eva02": tokens("eva02_tiny_patch14_224", 56, img_size=56, embed_dim=24, depth=3),
    "eva with rotary positions": tokens("vit_small_patch16_rope_224", img_size=64, embed_dim=24, depth=3),
    "dinov3": tokens("vit_small_patch16_dinov3", img_size=64, embed_dim=24, depth=3),
    "mixer": tokens("mixer_s32_224", 96, img_size=96),
    "gmixer": tokens("gmixer_12_224", img_size=64),
    "gmlp": tokens("gmlp_ti16_224", img_size=64),
    "resmlp": tokens("resmlp_12_224", img_size=64),
    "levit": tokens("levit_128s", img_size=64),
    "levit_conv": tokens("levit_conv_128s", img_size=64),
    "mvitv2": tokens("mvitv2_tiny", img_size=64),
    "naflexvit": tokens("naflexvit_base_patch16_gap", embed_dim=24, depth=3),
    "pit": tokens("pit_ti_224", img_size=64),
    "pit, distilled": tokens("pit_ti_distilled_224", img_size=64),
    "pvt_v2": tokens("pvt_v2_b0"),
    "pvt_v2, linear": tokens("pvt_v2_b2_li", depths=(1, 1, 1, 1), embed_dims=(16, 32, 32, 64), num_heads=(1, 2, 2, 4)),
    "sequencer2d": tokens("sequencer2d_s", img_size=64, layers=(1, 1, 1, 1)),
    "tnt": tokens("tnt_s_legacy_patch16_224", 64, {"pixel_embed(/.*)?|.*/(norm_in|attn_in|norm_mlp_in|mlp_in)(/.*)?|Block": "W*C"} | TOKENS, img_size=64, depth=3),
    "twins_pcpvt": tokens("twins_pcpvt_small", img_size=64, depths=(1, 1, 1, 1)),
    "twins_svt": tokens("twins_svt_small", img_size=64, depths=(1, 1, 2, 1)),
    "volo": tokens("volo_d1_224", img_size=64),
    "xcit": tokens("xcit_nano_12_p8_224", img_size=64, depth=3),
    "hiera": tokens("hiera_tiny_224", img_size=64, stages=(1, 1, 1, 1)),
    "hieradet of SAM 2": tokens("hieradet_small", 64, WINDOWS, stages=(1, 1, 2, 1)),
    "mambaout": tokens("test_mambaout"),
    "focalnet": tokens("focalnet_tiny_srf"),
    "convnext": tokens("test_convnext"),
    "convnextv2": tokens("convnextv2_atto", depths=(1, 1, 1, 1)),
    "edgenext": tokens("edgenext_xx_small"),
    "inception_next": tokens("inception_next_atto", depths=(1, 1, 1, 1)),
    "davit": tokens("davit_tiny", 64, {".*/0/attn(/.*)?": "W*C"} | TOKENS, embed_dims=(16, 32, 32, 64), num_heads=(2, 2, 2, 4), window_size=4),
    "efficientformer": tokens("efficientformer_l1", 224, depths=(1, 1, 1, 2), embed_dims=(16, 24, 24, 32)),
    "efficientformerv2": tokens("efficientformerv2_s0", img_size=64),
    "efficientvit_b0": tokens("efficientvit_b0"),
    "efficientvit_m0": tokens("efficientvit_m0", img_size=64),
    "efficientvim": tokens("efficientvim_m1"),
    "fasternet": tokens("fasternet_t0"),
    "fastvit_t8": tokens("fastvit_t8"),
    "fastvit_sa12": tokens("fastvit_sa12"),
    "gcvit": tokens("gcvit_xxtiny", 64, WINDOWS, img_size=64),
    "iformer": tokens("iformer_t"),
    "mobilevit_xxs": tokens("mobilevit_xxs", 64, {".*/transformer/.*": "W*C"} | TOKENS),
    "mobilevitv2_050": tokens("mobilevitv2_050"),
    "nest": tokens("nest_tiny", img_size=64),
    "nextvit": tokens("nextvit_small"),
    "poolformer": tokens("poolformer_s12"),
    "poolformerv2": tokens("poolformerv2_s12"),
    "caformer": tokens("caformer_s18"),
    "shvit_s1": tokens("shvit_s1"),
    "swiftformer": tokens("swiftformer_xs"),
    "tiny_vit": tokens("tiny_vit_5m_224", 64, WINDOWS, embed_dims=(16, 32, 32, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_sizes=(4, 4, 4, 2)),
    "visformer": tokens("visformer_tiny", img_size=64),
    "vitamin": tokens("vitamin_small_224", img_size=64, depth=2),
    "swin": tokens("swin_tiny_patch4_window7_224", 64, WINDOWS, img_size=64, window_size=4, embed_dim=16, depths=(2, 2, 2), num_heads=(2, 2, 2)),
    "swin_s3": tokens("swin_s3_tiny_224", 64, WINDOWS, img_size=64, embed_dim=16, depths=(1, 2, 2, 1), num_heads=(2, 2, 2, 2), window_size=(4, 4, 4, 2)),
    "swinv2": tokens("swinv2_tiny_window8_256", 64, WINDOWS, img_size=64, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2)),
    "swinv2_cr": tokens("swinv2_cr_tiny_224", 64, WINDOWS, img_size=64, embed_dim=16, depths=(2, 2), num_heads=(2, 2), window_size=4),
    "maxvit (test_maxvit)": tokens("test_maxvit", 64, WINDOWS, img_size=64),
    "coatnet (test_coatnet)": tokens("test_coatnet", img_size=64),
    "maxvit_pico": tokens("maxvit_rmlp_pico_rw_256", 64, WINDOWS, img_size=64),
    "maxxvit_nano": tokens("maxxvit_rmlp_nano_rw_256", 64, WINDOWS, img_size=64),
    "coatnext_nano": tokens("coatnext_nano_rw_224", 64, img_size=64),
    "csatv2": tokens("csatv2", 128),
    "lowformer": tokens("lowformer_b0"),
    "botnet26t": tokens("botnet26t_256", 64, {".*/pos_embed": "refused"} | TOKENS, img_size=64),
    "halonet26t": tokens("halonet26t", 256),
    "lambda_resnet26t": tokens("lambda_resnet26t", 64),
    "bat_resnext26ts": tokens("bat_resnext26ts", 256),
}
