"""`maskwright doctor`: what this machine has, and whether Maskwright works on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.cli.common import Common, Session, parse, run
from maskwright.errors import MaskwrightError

if TYPE_CHECKING:
    import torch

LITTLE_DISK_GB = 5.0
LITTLE_MEMORY_GB = 4.0
# Of all that a processor has, what the arithmetic here gains from.
FEATURES = ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
NUMERIC_TOLERANCE = 1e-4
SMOKE_IOU = 0.5


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Say what this machine has and whether Maskwright works on it.

    Checks versions, device and arithmetic, memory and disk, the folders of models, the checksums of the
    packaged model and its uncertainty heads, and cuts a disc out of a picture. Ends with code 1 when
    something is wrong.
    """


@dataclass(frozen=True)
class Finding:
    """One line of the report: `ok` is True, False, or None for what is only worth a look."""

    name: str
    ok: bool | None
    text: str


def main(argv: list[str]) -> int:
    """Run `maskwright doctor` and return its exit code."""
    return run(parse(Doctor, argv, prog="maskwright doctor"), doctor)


def doctor(options: Doctor, session: Session) -> None:
    """Run every check, print a line for each and note those that fail."""
    from maskwright.runtime import choose_device, seed_everything

    seed_everything(options.seed)
    device = choose_device(options.device)
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        check_versions,
        lambda: check_device(device.value, device.reason),
        check_processor,
        lambda: check_arithmetic(device.value),
        check_folders,
        lambda: check_nano(device.value),
    )
    findings: list[Finding] = []
    session.result["findings"] = findings_json = []
    for check in checks:
        for finding in check():
            findings.append(finding)
            findings_json.append(asdict(finding))
            _print(finding, session)
    for finding in findings:
        if finding.ok is False:
            session.fail(finding.name, finding.text)
    session.print("everything works" if all(finding.ok is not False for finding in findings) else "")


def check_versions() -> Iterator[Finding]:
    """Compare each installed requirement with its floor."""
    from packaging.requirements import Requirement

    from maskwright.methods.provenance import versions

    known = versions()
    yield Finding("maskwright", True, f"{known['maskwright']} on Python {known['python']}")
    try:
        needed = [Requirement(line) for line in requires("maskwright") or ()]
    except PackageNotFoundError:
        yield Finding(
            "installation", None, "run from its sources without being installed; versions unchecked"
        )
        return
    for need in needed:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = installed_version(need.name)
        except PackageNotFoundError:
            yield Finding(need.name, False, f"not installed; run pip install '{need}'")
            continue
        # The suffix of a local build (2.13.0+cpu) is no part of the floor.
        if have.split("+")[0] in need.specifier:
            yield Finding(need.name, True, have)
        else:
            yield Finding(
                need.name, False, f"{have}, but {need.specifier} is needed; run pip install '{need}'"
            )


def check_device(device: torch.device, reason: str) -> Iterator[Finding]:
    """Say which device and precision are taken, and why."""
    from maskwright.runtime import choose_precision

    precision = choose_precision("auto", device)
    yield Finding("device", True, f"{device}: {reason}")
    yield Finding("precision", True, f"{precision.value} for training: {precision.reason}")


def check_processor() -> Iterator[Finding]:
    """Processor, its useful features, and the memory that is free."""
    import psutil
    import torch

    from maskwright.methods.provenance import machine

    facts = machine(torch.device("cpu"))
    level = torch.backends.cpu.get_cpu_capability()
    # Newer torch versions tell more than the instruction set that their kernels use.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    features = [name for name in FEATURES if capabilities.get(name)]
    text = f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, kernels for {level}"
    yield Finding("processor", True, text + (f" ({', '.join(features)})" if features else ""))
    free = psutil.virtual_memory().available / 2**30
    enough = True if free >= LITTLE_MEMORY_GB else None
    yield Finding("memory", enough, f"{free:.1f} of {facts['memory_gb']} GB free")


def check_arithmetic(device: torch.device) -> Iterator[Finding]:
    """Compare a convolution and an attention on the device with float64 on the CPU."""
    import torch
    from torch.nn.functional import conv2d, scaled_dot_product_attention

    from maskwright.runtime import computes

    generator = torch.Generator().manual_seed(0)
    pixels, kernel = (torch.randn(1, 8, n, n, generator=generator) for n in (32, 3))

    def compute(kind: torch.dtype, where: torch.device) -> torch.Tensor:
        result = conv2d(pixels.to(where, kind), kernel.to(where, kind))
        return scaled_dot_product_attention(result, result, result).double().cpu()

    exact = compute(torch.float64, torch.device("cpu"))
    kinds = [(torch.float32, NUMERIC_TOLERANCE), (torch.bfloat16, 0.1)]
    for kind, tolerance in kinds:
        name = f"arithmetic {str(kind).removeprefix('torch.')}"
        try:
            error = ((compute(kind, device) - exact).abs().max() / exact.abs().max()).item()
        except RuntimeError as problem:
            yield Finding(name, None, f"not on this device ({' '.join(str(problem).split())[:100]})")
            continue
        # A NaN is smaller than nothing, so it fails here too.
        text = f"relative error {error:.1e}, at most {tolerance:g} is sound"
        if not computes(kind, device):
            text += "; emulated on this processor, slowly, so that models take float32 instead"
        yield Finding(name, error < tolerance, text)


def check_folders() -> Iterator[Finding]:
    """Where models are kept, and how much room there is."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from maskwright.models.hub import models_folder

    for name, folder in (
        ("models placed by hand", models_folder()),
        ("fetched models", Path(HF_HUB_CACHE)),
        ("this folder", Path.cwd()),
    ):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 2**30
        note = "" if there == folder else ", not made yet"
        yield Finding(name, True if free >= LITTLE_DISK_GB else None, f"{folder}{note}, {free:.0f} GB free")


def check_nano(device: torch.device) -> Iterator[Finding]:
    """Compare the packaged model's checksum, and cut a disc out of a picture with it."""
    from maskwright.io.weights import sha256
    from maskwright.models.hub import NAMED, local_file

    path = local_file("nano")
    if path is None:
        yield Finding("nano", False, "the packaged model is missing; install Maskwright again")
        return
    expected, actual = NAMED["nano"].sha256, sha256(path)
    if expected is None:
        yield Finding("nano", None, f"{path.name} is there; no checksum is recorded for it ({actual[:12]}…)")
    elif actual != expected:
        text = f"{path} has SHA-256 {actual}, not {expected}; install Maskwright again"
        yield Finding("nano", False, text)
        return
    else:
        yield Finding("nano", True, f"{path.name} is intact (SHA-256 {actual[:12]}…)")
    yield from check_heads()
    try:
        yield _cut_disc(device)
    except MaskwrightError as error:
        yield Finding("smoke run", False, str(error))


def check_heads() -> Iterator[Finding]:
    """Compare the checksum of the packaged model's uncertainty heads, if it ships with some."""
    from maskwright.io.weights import sha256
    from maskwright.models.hub import NAMED
    from maskwright.models.registry import heads_file

    expected, path = NAMED["nano"].heads_sha256, heads_file("nano")
    if path is None:
        if expected is not None:
            text = "the packaged uncertainty heads are missing; install Maskwright again"
            yield Finding("nano's heads", False, text)
        return
    actual = sha256(path)
    if expected is None:
        yield Finding("nano's heads", None, f"{path.name} is there; no checksum is recorded for it")
    elif actual != expected:
        text = f"{path} has SHA-256 {actual}, not {expected}; install Maskwright again"
        yield Finding("nano's heads", False, text)
    else:
        yield Finding("nano's heads", True, f"{path.name} is intact (SHA-256 {actual[:12]}…)")


def _cut_disc(device: torch.device) -> Finding:
    """Segment a bright disc by its box; the mask must resemble it."""
    import numpy as np

    from maskwright.models.registry import load

    y, x = np.mgrid[:240, :320]
    disc = (x - 170) ** 2 + (y - 110) ** 2 <= 60**2
    pixels = np.where(disc[..., None], (230, 190, 60), (40, 70, 90)).astype(np.uint8)
    segmenter = load("nano", device=str(device))
    start = time.perf_counter()
    masks = segmenter(pixels, boxes=np.array([[110, 50, 231, 171]], np.float32))
    seconds = time.perf_counter() - start
    found = masks.binary()[0, 0]
    iou = float((found & disc).sum() / (found | disc).sum())
    text = f"a disc was cut out in {seconds:.2f} s with an IoU of {iou:.2f}"
    if masks.quality is not None:
        text += f" ({float(masks.quality[0, 0]):.2f} expected)"
    return Finding("smoke run", iou >= SMOKE_IOU, text)


def _print(finding: Finding, session: Session) -> None:
    mark, style = {True: ("ok", "green"), None: ("look", "yellow"), False: ("WRONG", "red")}[finding.ok]
    session.console.print(f"{mark:<6}", style=style, end="")
    session.print(f"{finding.name}: {finding.text}")
