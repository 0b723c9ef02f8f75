"""Image encoder.

The ViT-B of SAM and of SAM-HQ at 1024 px, from normalised pixels to the embedding, with the same random
weights everywhere. Peers are transformers' own model, as it comes; Meta's code (segment-anything) and
SAM-HQ's, cast for bfloat16 as they have none of their own; and OpenVINO, on transformers' model as its
converter takes it. "ours on openvino" is what `--backend openvino` runs. bfloat16 is autocast with us, as
`load(..., dtype="bfloat16")` runs it, and cast weights with the peers. The limit counts all matrix products,
those of attention too.

A processor without bfloat16 emulates it for the peers. What is asked of us in bfloat16 there, we compute in
float32, with a warning; such rows say "emulated".

OpenVINO has rows and processes of its own: beside it, the system of a machine with AVX2 took up to twice as
long to give fresh memory, of which transformers and Meta's code ask for gigabytes in every pass. They are of
SAM alone: SAM-HQ's encoder is the same graph, with one output more.

Of the operations 75 % are the linear layers' and 25 % attention's, which in float32 without AVX-512 runs
in kernels of our own, outside torch: by the profiles below, the linear layers run at the rate of
transformers' within a tenth, and attention at three quarters of it. What the copies and sums of
transformers cost depends on what the machine takes for fresh memory at the time, which makes most of the
difference between runs. Those of float32 beside transformers are the third on machines with AVX2, taken
for the profiles; the two before had 1.55 and 1.68 for one image of SAM, 1.44 and 1.59 of SAM-HQ, and for
four 2.36 and 1.74, and 1.97 and 1.70.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from apart import apart
from peers import stand_in
from sides import OURS, Comparison
from torch import Tensor, nn
from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

from maskwright.models.exported import open_exported
from maskwright.models.sam import SAM
from maskwright.models.sam_hq import SAMHQ
from maskwright.models.write_graphs import export_model
from maskwright.runtime import choose_dtype

CPU = torch.device("cpu")
GOALS = {"transformers": 2.0, "openvino": 1.0}
# Largest error of the embedding, relative to its size, against transformers in float32.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
TINY = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "global_attn_indexes": [1]}


def comparisons(quick: bool) -> Iterator[Comparison]:
    """SAM and SAM-HQ with one image and four, in float32 and bfloat16."""
    for batch, hq in product((1, 4), (False, True)):
        net = random_model(hq, quick)
        pixels = torch.randn(batch, 3, *2 * [net.config.vision_config.image_size])
        with torch.inference_mode():
            exact = net.vision_encoder(pixels)[0]
        for kind in (torch.float32, torch.bfloat16):
            asked = str(kind).removeprefix("torch.")
            computed = choose_dtype(kind, CPU)
            is_emulated = computed != kind
            row = partial(
                Comparison,
                check=partial(equal, exact=exact, tolerance=TOLERANCE[kind]),
                goals=GOALS,
                operations=operations(net.config.vision_config, batch),
                arithmetic=str(computed).removeprefix("torch."),
            )
            name = f"{'SAM-HQ' if hq else 'SAM'}, batch {batch}, {asked}{' (emulated)' * is_emulated}"
            sides = {OURS: ours(net, pixels, computed), "transformers": theirs(net, pixels, kind)}
            if batch == 1 and not is_emulated:  # otherwise it takes minutes
                sides["segment-anything-hq" if hq else "segment-anything"] = metas(net, pixels, kind)
            yield row(name, sides)
            if not (hq or is_emulated):  # the same graph
                yield row(
                    f"{name}, beside OpenVINO",
                    {
                        OURS: ours(net, pixels, kind),
                        "openvino": apart(openvino, net, pixels, kind),
                        "ours on openvino": apart(backend, net, pixels, kind),
                    },
                )


def random_model(
    hq: bool, quick: bool, vision: Mapping[str, Any] = MappingProxyType({})
) -> SamModel | SamHQModel:
    """Transformers' model with weights of a trained one's size, so that nothing vanishes or explodes.

    `vision` are its sizes, ViT-B's by default.
    """
    torch.manual_seed(0)
    vision = TINY | {"output_channels": 256} if quick else dict(vision)
    decoder = {"vit_dim": TINY["hidden_size"]} if quick and hq else {}
    config = (SamHQConfig if hq else SamConfig)(vision_config=vision, mask_decoder_config=decoder)
    net = (SamHQModel if hq else SamModel)(config).eval()
    for parameter in net.vision_encoder.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=min(0.05, parameter[0].numel() ** -0.5))
    return net


def operations(config: Any, batch: int) -> float:  # noqa: ANN401
    """Floating point operations of all matrix products of the encoder."""
    width, tokens = config.hidden_size, (config.image_size // config.patch_size) ** 2
    linear = 2 * tokens * width * (4 * width + 2 * config.mlp_dim)
    per_window = config.window_size**2
    windows = math.ceil(tokens**0.5 / config.window_size) ** 2
    whole = len(config.global_attn_indexes)
    in_windows = (config.num_hidden_layers - whole) * windows * per_window**2
    attention = 4 * width * (whole * tokens**2 + in_windows)
    return float(batch * (config.num_hidden_layers * linear + attention))


def ours(net: SamModel | SamHQModel, pixels: Tensor, kind: torch.dtype) -> Callable[[], Tensor]:
    """Our encoder in float32, or under autocast as `load(..., dtype="bfloat16")` runs it."""
    model = (SAMHQ if isinstance(net, SamHQModel) else SAM).from_config(net.config.to_dict())
    model.net.load_state_dict(net.state_dict())
    device = pixels.device.type
    model.eval().to(device)

    def run() -> Tensor:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=kind == torch.bfloat16):
            return model.encode(pixels).image

    return run


def backend(net: SamModel | SamHQModel, pixels: Tensor, kind: torch.dtype) -> Callable[[], Tensor]:
    """Our encoder as `load(..., backend="openvino")` runs it."""
    model = SAM.from_config(net.config.to_dict())
    model.net.load_state_dict(net.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        export_model(model.eval(), Path(folder) / "graphs")
        exported = open_exported(Path(folder) / "graphs", "openvino", kind)

    def run() -> Tensor:
        with torch.inference_mode():
            return exported.encode(pixels).image

    return run


def theirs(
    net: SamModel | SamHQModel, pixels: Tensor, kind: torch.dtype, compiled: bool = False
) -> Callable[[], Tensor]:
    """Transformers' encoder, its weights cast."""
    model = type(net)(net.config).eval()
    model.load_state_dict(net.state_dict())
    encoder, inputs = model.to(pixels.device, kind).vision_encoder, pixels.to(kind)
    called = torch.compile(encoder) if compiled else encoder

    def run() -> Tensor:
        with torch.inference_mode():
            found: Tensor = called(inputs)[0]
            return found

    return run


def metas(net: SamModel | SamHQModel, pixels: Tensor, kind: torch.dtype) -> Callable[[], Tensor]:
    """Meta's encoder, or SAM-HQ's, with the weights under its names."""
    stand_in()
    package = "segment_anything_hq" if isinstance(net, SamHQModel) else "segment_anything"
    encoder_class = import_module(f"{package}.modeling").ImageEncoderViT
    config = net.config.vision_config
    encoder = encoder_class(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.mlp_dim / config.hidden_size,
        out_chans=config.output_channels,
        norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
        qkv_bias=config.qkv_bias,
        use_rel_pos=config.use_rel_pos,
        window_size=config.window_size,
        global_attn_indexes=tuple(config.global_attn_indexes),
    ).eval()
    encoder.load_state_dict(
        {metas_name(name): value for name, value in net.vision_encoder.state_dict().items()}
    )
    encoder, inputs = encoder.to(kind), pixels.to(kind)

    def run() -> Tensor:
        with torch.inference_mode():
            found = encoder(inputs)
            result: Tensor = found[0] if isinstance(found, tuple) else found
            return result

    return run


def metas_name(name: str) -> str:
    """A parameter of transformers' encoder as Meta calls it."""
    for old, new in (
        ("patch_embed.projection", "patch_embed.proj"),
        ("layers.", "blocks."),
        ("layer_norm1", "norm1"),
        ("layer_norm2", "norm2"),
        ("neck.conv1", "neck.0"),
        ("neck.norm1", "neck.1"),
        ("neck.conv2", "neck.2"),
        ("neck.norm2", "neck.3"),
        ("neck.layer_norm1", "neck.1"),
        ("neck.layer_norm2", "neck.3"),
    ):
        name = name.replace(old, new)
    return name


class OneOutput(nn.Module):
    """transformers' encoder as OpenVINO's converter wants it: a tensor in, a tensor out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """The embedding."""
        found: Tensor = self.encoder(pixels)[0]
        return found


def openvino(net: SamModel | SamHQModel, pixels: Tensor, kind: torch.dtype) -> Callable[[], Tensor]:
    """Transformers' encoder in OpenVINO, with its hint for the arithmetic."""
    import openvino as ov

    with torch.no_grad():
        converted = ov.convert_model(OneOutput(net.vision_encoder), example_input=pixels[:1])
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(converted, Path(folder) / "encoder.xml", compress_to_fp16=False)
        del converted
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if kind == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        compiled = ov.Core().compile_model(Path(folder) / "encoder.xml", "CPU", settings)
    request = compiled.create_infer_request()

    def run() -> Tensor:
        return torch.from_numpy(request.infer([pixels.numpy()])[0].copy())

    return run


def equal(outputs: dict[str, Tensor], exact: Tensor, tolerance: float) -> str:
    """Relative errors against transformers in float32."""
    errors = {side: float((out.float().cpu() - exact).norm() / exact.norm()) for side, out in outputs.items()}
    for side, error in errors.items():
        assert error < tolerance, f"{side} is wrong by {error:.1e}"
    return "errors " + ", ".join(f"{side} {error:.0e}" for side, error in errors.items())
