"""Check the configuration in a model folder or file before anything is built from it.

Only sizes and switches of our own families pass. A class path, a remote-code hook or any other unknown
key is refused by name, so that a configuration can never choose what code runs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from maskwright.errors import WeightsError
from maskwright.models.keys import listing
from maskwright.models.sizes import DECODER_EPS

Config = dict[str, Any]

MAX_SIZE, MAX_LENGTH = 65536, 512

# Text-generation settings and housekeeping that transformers 4 wrote into every config; inert here.
INERT = frozenset(
    """
    _attn_implementation_autoset _commit_hash _name_or_path add_cross_attention architectures
    bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dropout dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id id2label initializer_factor intermediate_size is_decoder
    is_encoder_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups
    num_beams num_return_sequences output_attentions output_hidden_states output_scores pad_token_id
    prefix problem_type projection_dim pruned_heads remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version typical_p use_bfloat16
    """.split()
)
# In transformers 5.17 the video model's decoder configuration also had all the keys of the prompt encoder's.
VIDEO_DECODER_INERT = frozenset(
    {"image_size", "layer_norm_eps", "mask_input_channels", "num_point_embeddings", "patch_size", "scale"}
)
# What transformers 4 wrote for SegFormer and nothing ever read.
SEGFORMER_INERT = frozenset({"downsampling_rates", "image_size"})
# What multiplies modules, so that a large value would build for ever.
COUNTS = frozenset(
    {
        "num_hidden_layers",
        "iou_head_depth",
        "num_multimask_outputs",
        "num_point_embeddings",
        "blocks_per_stage",
        "depths",
        "num_encoder_blocks",
    }
)


def check_config(path: Path, config: object) -> tuple[str, Config]:
    """Check a configuration of SAM, SAM-HQ, SAM 2, SAM 2 video, SegFormer or, as we write it, MobileSAM.

    Returns:
        The family, and the configuration with known keys only. In SAM and its kin the two-way transformer's
        layer norms get the original's eps: published folders carry transformers' 1e-6, which costs 1e-4.

    Raises:
        WeightsError: another architecture, an unknown key (named), or an impossible value.
    """
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: the configuration is a {type(config).__name__}, not an object.")
    kind = config.get("model_type")
    references = _references()
    if kind not in references:
        raise WeightsError(
            f"{path}: model_type {kind!r} is not supported; known are {', '.join(sorted(references))}."
        )
    if kind == "sam2_video":
        config, kind = _image_part(config, references), "sam2"
    if kind == "segformer":
        config = {key: value for key, value in config.items() if key not in SEGFORMER_INERT}
    unknown: list[str] = []
    clean = _clean(path, config, references[kind], "", unknown)
    if unknown:
        raise WeightsError(f"{path}: refused, the configuration has unknown keys: {listing(unknown)}.")
    if "mask_decoder_config" in references[kind] and kind != "sam2":
        clean.setdefault("mask_decoder_config", {})["layer_norm_eps"] = DECODER_EPS
    return kind, clean


def check_value(path: Path, name: str, value: object) -> None:
    """Refuse a setting that is no plain number, switch, short word or list of these, or is absurd."""
    if isinstance(value, list) and len(value) <= MAX_LENGTH:
        for item in value:
            check_value(path, name, item)
        return
    limit = MAX_LENGTH if name.rsplit(".", 1)[-1] in COUNTS else MAX_SIZE
    plain = value is None or isinstance(value, bool) or (isinstance(value, str) and len(value) < 64)
    # The comparison is also false for NaN.
    if not plain and not (isinstance(value, (int, float)) and 0 <= value <= limit):
        raise WeightsError(f"{path}: refused, {name} = {str(value)[:40]!r} is not a possible setting.")


@cache
def _references() -> dict[str, Config]:
    """What is written for each architecture: all keys that may occur, with their defaults."""
    from transformers.models.sam.configuration_sam import SamConfig
    from transformers.models.sam2.configuration_sam2 import Sam2Config
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
    from transformers.models.sam_hq.configuration_sam_hq import SamHQConfig
    from transformers.models.segformer.configuration_segformer import SegformerConfig

    from maskwright.models.tiny_vit import TinyViTConfig

    configs = (SamConfig(), SamHQConfig(), Sam2Config(), Sam2VideoConfig(), SegformerConfig())
    known = {str(config.model_type): config.to_dict() for config in configs}
    for plain, mobile in (("sam", "mobile_sam"), ("sam_hq", "mobile_sam_hq")):
        own = {"model_type": mobile, "vision_config": TinyViTConfig().to_dict()}
        known[mobile] = known[plain] | own
    return known


def _image_part(config: Config, references: dict[str, Config]) -> Config:
    """A SAM 2 video configuration without what is known to be for video alone."""
    video = references["sam2_video"].keys() - references["sam2"].keys()
    image = {key: value for key, value in config.items() if key not in video} | {"model_type": "sam2"}
    decoder = image.get("mask_decoder_config")
    if isinstance(decoder, dict):
        image["mask_decoder_config"] = {
            key: decoder[key] for key in decoder if key not in VIDEO_DECODER_INERT
        }
    return image


def _clean(path: Path, config: Config, reference: Config, prefix: str, unknown: list[str]) -> Config:
    clean: Config = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if key in INERT:
            continue
        if key not in reference:
            unknown.append(name)
        elif isinstance(reference[key], dict):
            if not isinstance(value, dict):
                raise WeightsError(f"{path}: {name} must be an object, not {str(value)[:40]!r}.")
            clean[key] = _clean(path, value, reference[key], f"{name}.", unknown)
        elif key == "model_type":
            # transformers chooses the class of a part by this; early releases wrote an empty string,
            # and the parts of SAM 2 video that an image model shares have names of their own there.
            if value not in ("", reference[key], reference[key].replace("sam2_", "sam2_video_")):
                raise WeightsError(
                    f"{path}: refused, {name} is {str(value)[:40]!r} instead of {reference[key]!r}."
                )
            clean[key] = reference[key]
        else:
            check_value(path, name, value)
            clean[key] = value
    return clean
