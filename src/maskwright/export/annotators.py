"""Models for annotation tools: the pair of graphs and the settings file that X-AnyLabeling reads.

Such tools send SAM's encoder a photo and its decoder what SAM's own ONNX export takes (Kirillov et al. 2023,
released code); for SAM-HQ the decoder has one input more, `interm_embeddings`. What a tool does around them,
scaling photos to a fixed height and width and prompts to the square, is described in `models.graphs`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from maskwright.errors import InputError
from maskwright.io.files import make_folder, write_text
from maskwright.models.base import MaskModel
from maskwright.models.exported import Precision
from maskwright.models.graphs import ANNOTATOR_SIZE, PROMPTS, AnnotatorDecoder, AnnotatorEncoder
from maskwright.models.sam import SAM
from maskwright.models.write_graphs import Traced, check_export, prompt_axes, write_graph

ENCODER, DECODER, SETTINGS = "encoder.onnx", "decoder.onnx", "config.yaml"
# The tool scales photos to this width and this height and calls it so.
MAX_WIDTH, MAX_HEIGHT = 1024, 682
INPUT_SIDE = 1024


def export_annotator(
    model: MaskModel, folder: Path, name: str, *, precision: Precision = "float32"
) -> list[Path]:
    """Write the graphs and the settings with which X-AnyLabeling loads a model ("load custom model").

    Args:
        model: a SAM, SAM-HQ, MobileSAM or Light HQ-SAM with an input of 1024 pixels, in float32 on the CPU.
        folder: gets `encoder.onnx`, `decoder.onnx` and `config.yaml`.
        name: what the tool calls the model.
        precision: of the weights; see `models.write_graphs`.

    Raises:
        InputError: another family or input size, a model with task prompts, or a package is missing.
        FileError: a file cannot be written.
    """
    check_export("onnx", precision)
    if not isinstance(model, SAM) or model.task_prompts is not None:
        told = f"a {model.family}" + (" with task prompts" if model.task_prompts is not None else "")
        raise InputError(
            f"annotation tools load a SAM, SAM-HQ, MobileSAM or Light HQ-SAM, not {told}: export it for "
            "use with Maskwright (--layout maskwright)."
        )
    if model.image_size != INPUT_SIDE:
        raise InputError(
            f"annotation tools scale prompts to {INPUT_SIDE} pixels, and this model's input has "
            f"{model.image_size}: export it for use with Maskwright (--layout maskwright)."
        )
    make_folder(folder)
    encoder, decoder = annotator_graphs(model.eval())
    files = write_graph(encoder, folder / ENCODER, "onnx", precision)
    files += write_graph(decoder, folder / DECODER, "onnx", precision)
    write_text(folder / SETTINGS, settings(model, name))
    return [*files, folder / SETTINGS]


@torch.no_grad()
def annotator_graphs(model: SAM) -> tuple[Traced, Traced]:
    """Encoder and decoder with the names and shapes that annotation tools expect."""
    encoder, decoder = AnnotatorEncoder(model), AnnotatorDecoder(model)
    height, width = (size * model.image_size // INPUT_SIDE for size in ANNOTATOR_SIZE)
    photo = torch.zeros(height, width, 3)
    image, *early = encoder(photo)
    names = ["image_embeddings", "interm_embeddings"][: 1 + len(early)]
    low_res = model.low_res
    prompts = (torch.zeros(2, 3, 2), torch.zeros(2, 3), torch.zeros(1, 1, low_res, low_res), torch.zeros(1))
    inputs = (image, *(part[None] for part in early), *prompts, torch.tensor([height, width]).float())
    outputs = ("masks", "iou_predictions", "low_res_masks")
    each = {name: {0: "prompts"} for name in outputs} | {"masks": {0: "prompts", 2: "height", 3: "width"}}
    sides = {"input_image": {0: "height", 1: "width"}}
    return (
        Traced(encoder, (photo,), ("input_image",), names, sides, matrices=True),
        Traced(decoder, inputs, (*names, *PROMPTS, "orig_im_size"), outputs, prompt_axes() | each),
    )


def settings(model: SAM, name: str) -> str:
    """The text of the tool's settings file; a JSON string is a YAML string, too."""
    kind = "sam_hq" if model.has_hq else "segment_anything"
    lines = {
        "type": kind,
        "name": json.dumps(name),
        "display_name": json.dumps(f"{name} (Maskwright)"),
        "encoder_model_path": ENCODER,
        "decoder_model_path": DECODER,
        "input_size": INPUT_SIDE,
        "max_width": MAX_WIDTH,
        "max_height": MAX_HEIGHT,
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())
