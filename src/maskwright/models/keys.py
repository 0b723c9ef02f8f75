"""From the original checkpoints' key names to those of transformers, and which keys belong to what.

Originals: segment-anything (Meta), sam-hq (SysCV), MobileSAM (whose encoder keeps its names here), sam2
(Meta). An MLP of three linear layers is
`layers.0`, `layers.1`, `layers.2` there and `proj_in`, `layers.0`, `proj_out` in transformers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Rules = Sequence[tuple[str, str]]
# What a rule may hold besides plain text, where it is to be undone.
NUMBER = r"(\d+)"

SHARED_POSITION = "shared_image_embedding.positional_embedding"
PROMPT_POSITION = "prompt_encoder.shared_embedding.positional_embedding"

# What batch norms measured, rather than learned.
BATCH_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")

# What SAM 2 needs for video only; an image model has no place for it.
SAM2_MEMORY = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
)
# The same modules under transformers' names.
SAM2_VIDEO_MEMORY = (
    "memory_attention.",
    "memory_encoder.",
    "memory_temporal_positional_encoding",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "mask_downsample.",
)
HQ_PARTS = ("hf_token.", "hf_mlp.", "compress_vit_feat.", "embedding_encoder.", "embedding_maskfeature.")
SAM_DECODER_PARTS = (
    "transformer.",
    "iou_token.",
    "mask_tokens.",
    "output_upscaling.",
    "output_hypernetworks_mlps.",
    "iou_prediction_head.",
)

_MLP: Rules = (
    (r"\.layers\.0\.", ".proj_in."),
    (r"\.layers\.1\.", ".layers.0."),
    (r"\.layers\.2\.", ".proj_out."),
)
_THREE_LAYER_MLP = (
    r"(iou_prediction_head|hq_mask_mlp|pred_obj_score_head|object_pointer_proj|"
    r"output_hypernetworks_mlps\.\d+)\."
)
_NORMS: Rules = (
    (r"\.norm1\.", ".layer_norm1."),
    (r"\.norm2\.", ".layer_norm2."),
    (r"\.norm3\.", ".layer_norm3."),
    (r"\.norm4\.", ".layer_norm4."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)
_NECK: Rules = (
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
)
_PROMPT: Rules = (
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", SHARED_POSITION),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
)
_DECODER: Rules = (
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"\.hf_token\.", ".hq_token."),
    (r"\.hf_mlp\.", ".hq_mask_mlp."),
    (r"compress_vit_feat\.0\.", "compress_vit_conv1."),
    (r"compress_vit_feat\.1\.", "compress_vit_norm."),
    (r"compress_vit_feat\.3\.", "compress_vit_conv2."),
    (r"embedding_encoder\.0\.", "encoder_conv1."),
    (r"embedding_encoder\.1\.", "encoder_norm."),
    (r"embedding_encoder\.3\.", "encoder_conv2."),
    (r"embedding_maskfeature\.0\.", "mask_conv1."),
    (r"embedding_maskfeature\.1\.", "mask_norm."),
    (r"embedding_maskfeature\.3\.", "mask_conv2."),
)
MOBILE_SAM_RULES: Rules = (
    (r"^image_encoder\.", "vision_encoder."),
    *_NORMS,
    *_NECK,
    *_PROMPT,
    *_DECODER,
)
SAM_RULES: Rules = (
    *MOBILE_SAM_RULES,
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
)
SAM2_RULES: Rules = (
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.", "vision_encoder.neck."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"(neck\.convs\.\d+)\.conv\.", r"\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.norm", ".layer_norm"),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    *_PROMPT,
    *_DECODER,
)
# With the memory, for video; here names of an MLP's layers and of norms are settled by the rules above.
SAM2_VIDEO_RULES: Rules = (
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv([12])\.", r".pointwise_conv\1."),
    # Convolution, norm and activation by turns; a last convolution ends them.
    (r"(mask_downsampler)\.encoder\.0\.", r"\1.layers.0.conv."),
    (r"(mask_downsampler)\.encoder\.1\.", r"\1.layers.0.layer_norm."),
    (r"(mask_downsampler)\.encoder\.3\.", r"\1.layers.1.conv."),
    (r"(mask_downsampler)\.encoder\.4\.", r"\1.layers.1.layer_norm."),
    (r"(mask_downsampler)\.encoder\.6\.", r"\1.layers.2.conv."),
    (r"(mask_downsampler)\.encoder\.7\.", r"\1.layers.2.layer_norm."),
    (r"(mask_downsampler)\.encoder\.9\.", r"\1.layers.3.conv."),
    (r"(mask_downsampler)\.encoder\.10\.", r"\1.layers.3.layer_norm."),
    (r"(mask_downsampler)\.encoder\.12\.", r"\1.final_conv."),
    *SAM2_RULES,
)

# transformers' files of SegFormer keep the names that its modules had up to 5.16.
SEGFORMER_RULES: Rules = (
    (r"\.encoder\.patch_embeddings\.(\d+)\.", r".stages.\1.patch_embeddings."),
    (r"\.encoder\.block\.(\d+)\.", r".stages.\1.blocks."),
    (r"\.encoder\.layer_norm\.(\d+)\.", r".stages.\1.layer_norm."),
    (r"\.attention\.self\.query\.", ".attention.q_proj."),
    (r"\.attention\.self\.key\.", ".attention.k_proj."),
    (r"\.attention\.self\.value\.", ".attention.v_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense1\.", ".mlp.fc1."),
    (r"\.mlp\.dense2\.", ".mlp.fc2."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"^decode_head\.linear_c\.", "decode_head.linear_projections."),
)


def rename(key: str, rules: Rules) -> str:
    """The transformers name of an original key; a key that no rule knows comes back unchanged."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    if re.search(_THREE_LAYER_MLP, key):
        for pattern, replacement in _MLP:
            renamed = re.sub(pattern, replacement, key)
            if renamed != key:
                return renamed
    return key


def original(name: str, rules: Rules) -> str:
    """The original key of a transformers name: `rename` undone, the last rule first.

    Only for rules that are plain text but for an anchor and a number: those of SAM, MobileSAM and SegFormer.
    """
    undone = [(replacement, pattern) for pattern, replacement in reversed(rules)]
    if re.search(_THREE_LAYER_MLP, name):
        layer = next((rule for rule in _MLP if rule[1] in name), None)
        undone = [] if layer is None else [(layer[1], layer[0]), *undone]
    key = name
    for replacement, pattern in undone:
        start = "^" if pattern.startswith("^") else ""
        made = re.escape(replacement).replace(r"\\1", NUMBER)
        # The number's place is kept while the escapes of the dots go.
        text = pattern.strip("^$").replace(NUMBER, "\0").replace("\\", "").replace("\0", r"\1")
        key = re.sub(start + made, text, key)
    assert rename(key, rules) == name, (key, name)
    return key


def starts_with(key: str, prefixes: Iterable[str]) -> bool:
    """Whether a key lies below one of the prefixes."""
    return key.startswith(tuple(prefixes))


def listing(keys: Sequence[str], limit: int = 10) -> str:
    """The count of keys and the first ten of them, for messages."""
    shown = ", ".join(keys[:limit])
    return f"{len(keys)} ({shown}{', …' if len(keys) > limit else ''})"
