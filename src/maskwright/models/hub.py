"""The named models: what they are, where they come from, and how they get here intact.

A model is fetched once through huggingface_hub (its cache, its resume) and checked each time it is opened:
against the published SHA-256 where there is one, else against the one the hub states, which is written down
on the first download. A file placed by hand in `models_folder()` is used first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from maskwright.errors import InputError, OfflineError, WeightsError, suggestion
from maskwright.io.files import make_folder, nearest_name, shown, write_json
from maskwright.io.weights import read_model_json, sha256
from maskwright.models.boundary import FAMILIES as BOUNDARY_FAMILIES
from maskwright.models.checkpoint import FOLDER_FILES

PACKAGED = Path(__file__).parent / "weights"
LEDGER = "checksums.json"
# What a hub repository of transformers weights may hold for us; nothing else is fetched.
FOLDER_PATTERNS = ("config.json", "model*.safetensors", "model.safetensors.index.json")
PICKLE_PATTERNS = ("config.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class NamedModel:
    """A model that can be loaded by name.

    Args:
        family: one of `registry.FAMILIES`, or of `boundary.FAMILIES`.
        parameters: their number, as loaded for images.
        licence: of the weights.
        file: its name in the repository (for nano: in the package).
        repo: hub repository, or None for what ships with the package.
        sha256: published checksum of the file, or None where only the hub states one.
        heads_sha256: checksum of the uncertainty heads that ship beside it, or None if none do.
        resolution: of a boundary model, side of the input in pixels for which it was trained; None: its file
            tells.
    """

    family: str
    parameters: int
    licence: str
    file: str
    repo: str | None = None
    sha256: str | None = None
    heads_sha256: str | None = None
    resolution: int | None = None

    @property
    def task(self) -> Literal["prompts", "boundary"]:
        """What the model does: it answers prompts, or marks all boundaries without any."""
        return "boundary" if self.family in BOUNDARY_FAMILIES else "prompts"


def _direct_sam(parameters: int, repository: str, resolution: int) -> NamedModel:
    """A published DirectSAM: weights of SegFormer's licence, trained on SA-1B."""
    return NamedModel(
        "segformer",
        parameters,
        "non-commercial research",
        "model.safetensors",
        f"chendelong/{repository}",
        resolution=resolution,
    )


# Of SegFormer b0 and b5 with one output.
_B0, _B5 = 3_714_401, 84_594_113

# The checksums are of the authors' own files, as recorded independently by several projects (micro-sam among
# them) and, for MobileSAM and Light HQ-SAM, stated by the hub.
NAMED: dict[str, NamedModel] = {
    "nano": NamedModel(
        "nano",
        4_462_836,
        "non-commercial research",
        "nano.safetensors",
        sha256="ed2492dc00c6ac44a2afd767f5e3f59e027dfffac6d5e8da4846746aa3edc5c6",
        heads_sha256="26ea0b77a760ba8becc26b29b503cd1670030504350c442e0aacf62e14362418",
    ),
    "nano-small": NamedModel(
        "nano",
        1_663_140,
        "non-commercial research",
        "nano-small.safetensors",
        sha256="c1bf759a7fc714b645ee482c94686ef7a4a864ea2978e696bb4213d1114baabd",
        heads_sha256="c6a13a43c97d1415ec031d96da3aa1483e6cf504ebc5d3428f4146d20cde9346",
    ),
    "sam-vit-b": NamedModel(
        "sam",
        93_735_728,
        "Apache-2.0",
        "checkpoints/sam_vit_b_01ec64.pth",
        "ybelkada/segment-anything",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam-vit-l": NamedModel(
        "sam",
        312_343_088,
        "Apache-2.0",
        "checkpoints/sam_vit_l_0b3195.pth",
        "ybelkada/segment-anything",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam-vit-h": NamedModel(
        "sam",
        641_090_864,
        "Apache-2.0",
        "checkpoints/sam_vit_h_4b8939.pth",
        "ybelkada/segment-anything",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "sam-hq-vit-b": NamedModel("sam_hq", 94_806_832, "Apache-2.0", "sam_hq_vit_b.pth", "lkeab/hq-sam"),
    "sam-hq-vit-l": NamedModel("sam_hq", 313_676_336, "Apache-2.0", "sam_hq_vit_l.pth", "lkeab/hq-sam"),
    "sam-hq-vit-h": NamedModel("sam_hq", 642_686_256, "Apache-2.0", "sam_hq_vit_h.pth", "lkeab/hq-sam"),
    "sam-hq-vit-tiny": NamedModel(
        "mobile_sam_hq",
        10_578_860,
        "Apache-2.0",
        "sam_hq_vit_tiny.pth",
        "lkeab/hq-sam",
        "0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196",
    ),
    "mobile-sam": NamedModel(
        "mobile_sam",
        10_130_348,
        "Apache-2.0",
        "mobile_sam.pt",
        "dhkim2810/MobileSAM",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    "sam2.1-tiny": NamedModel(
        "sam2",
        31_440_721,
        "Apache-2.0",
        "sam2.1_hiera_tiny.pt",
        "facebook/sam2.1-hiera-tiny",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    "sam2.1-small": NamedModel(
        "sam2",
        38_538_577,
        "Apache-2.0",
        "sam2.1_hiera_small.pt",
        "facebook/sam2.1-hiera-small",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    "sam2.1-base-plus": NamedModel(
        "sam2",
        73_328_401,
        "Apache-2.0",
        "sam2.1_hiera_base_plus.pt",
        "facebook/sam2.1-hiera-base-plus",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    "sam2.1-large": NamedModel(
        "sam2",
        216_924_865,
        "Apache-2.0",
        "sam2.1_hiera_large.pt",
        "facebook/sam2.1-hiera-large",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    "nano-boundary": NamedModel(
        "nano_boundary",
        3_648_209,
        "non-commercial research",
        "nano-boundary.safetensors",
        sha256="3c0f1c4a2111bf497bbf1b00deb42becb950ac968b430f4703e00048ac188021",
    ),
    # The paper's own, then those trained further on its labels of many datasets (chendelong's on the hub).
    "directsam-b0-1024": _direct_sam(_B0, "DirectSAM-b0-1024px-sa1b-2ep-1017", 1024),
    "directsam-b0-dsa-1024": _direct_sam(_B0, "DirectSAM-b0-1024px-sa1b-2ep-dsa-100ep-1106", 1024),
    "directsam-b0-dsa-384": _direct_sam(_B0, "DirectSAM-b0-384px-sa1b-2ep-dsa-101ep-1108", 384),
    "directsam-b5-1800": _direct_sam(_B5, "DirectSAM-1800px-0424", 1800),
    "directsam-b5-gen3-1024": _direct_sam(_B5, "DirectSAM-gen3-1024px-1023", 1024),
    "directsam-b5-entityseg-1024": _direct_sam(_B5, "DirectSAM-EntitySeg-1024px-0501", 1024),
}


def models_folder() -> Path:
    """Where files placed by hand and the list of checksums are: MASKWRIGHT_MODELS, else below ~/.cache."""
    given = os.environ.get("MASKWRIGHT_MODELS")
    return Path(given) if given else Path.home() / ".cache" / "maskwright" / "models"


def locate(name_or_path: str | Path, *, offline: bool = False) -> Path:
    """The file or folder of a named model, a path or a hub id, fetched if need be.

    Raises:
        InputError: neither a name, nor a path, nor a hub id; with a suggestion.
        OfflineError: it is not here and cannot be fetched; with what to put where.
        WeightsError: the checksum is wrong; a fetched file has then been removed.
    """
    text = str(name_or_path)
    if text in NAMED:
        return fetch(text, offline=offline)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if _is_path(path):
        raise InputError(f"the model {shown(path)} does not exist.{nearest_name(path)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return _fetch_repository(text, offline)
    hint = suggestion(text, NAMED)
    raise InputError(
        f"{text!r} is neither a file or folder nor a known model.{hint} Names: {', '.join(NAMED)}."
    )


def files_of(name_or_path: str | Path) -> list[Path]:
    """Where a model's file is on this machine, or could be placed by hand; nothing is fetched or verified.

    Raises:
        InputError, OfflineError: as `locate` does.
    """
    text = str(name_or_path)
    if text in NAMED:
        found = local_file(text)
        placed = [] if NAMED[text].repo is None else [_placed(text, NAMED[text])]
        return [*([] if found is None else [found]), *placed]
    path = locate(name_or_path, offline=True)
    return [path / "model.safetensors" if path.is_dir() else path]


def _is_path(path: Path) -> bool:
    """Whether this must mean a file, and no name or hub id: by its ending, depth, or the folder it is in."""
    in_folder = path.parent != Path() and path.parent.is_dir()
    return path.suffix in {".pth", ".pt", ".bin", ".safetensors", ".json"} or len(path.parts) > 2 or in_folder


def fetch(name: str, *, offline: bool = False) -> Path:
    """The verified file of a named model, downloaded on first use.

    Raises:
        OfflineError, WeightsError: as `locate` does.
    """
    model = NAMED[name]
    if model.repo is None:
        return PACKAGED / model.file
    path = local_file(name)
    if path is None:
        path = _download(name, model, offline)
    verify(name, path)
    return path


def local_file(name: str) -> Path | None:
    """The model's file if it is on this machine, placed by hand or in the hub's cache; not verified."""
    from huggingface_hub import try_to_load_from_cache

    model = NAMED[name]
    if model.repo is None:
        path = PACKAGED / model.file
        return path if path.is_file() else None
    placed = _placed(name, model)
    if placed.is_file():
        return placed
    cached = try_to_load_from_cache(model.repo, model.file)
    return Path(cached) if isinstance(cached, str) else None


def verify(name: str, path: Path) -> str:
    """Check a named model's file and return its SHA-256.

    Raises:
        WeightsError: it is not the expected file. A fetched one has been removed, so that the next use
            fetches it anew; one placed by hand is the user's own (perhaps a link elsewhere) and stays, and so
            does the packaged one.
    """
    model = NAMED[name]
    actual = sha256(path)
    ledger = _ledger()
    expected = model.sha256 or ledger.get(name)
    if expected is None:
        # Files of the hub's cache are named by the checksum that the hub stated for them.
        stated = path.resolve().name
        expected = stated if re.fullmatch(r"[0-9a-f]{64}", stated) else actual
    if actual != expected:
        if model.repo is None:
            advice = "Install Maskwright again."
        elif path == _placed(name, model):
            advice = "Put the right file there, or give yours as a path in place of the name."
        else:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            advice = "The file was removed; run the command again to fetch it anew."
        raise WeightsError(f"{path}: SHA-256 is {actual}, but {name} must have {expected}. {advice}")
    if model.repo is not None and ledger.get(name) != actual:
        write_json(make_folder(models_folder()) / LEDGER, {**ledger, name: actual})
    return actual


def is_offline(offline: bool) -> bool:
    """Whether the network is off: by the flag, or by HF_HUB_OFFLINE."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _ledger() -> dict[str, Any]:
    path = models_folder() / LEDGER
    return read_model_json(path) if path.is_file() else {}


def _placed(name: str, model: NamedModel) -> Path:
    return models_folder() / name / Path(model.file).name


def _download(name: str, model: NamedModel, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download, hf_hub_url

    assert model.repo is not None
    repo, file = model.repo, model.file
    advice = f"fetch {hf_hub_url(repo, file)} and put it at {_placed(name, model)}"
    return Path(_fetching(name, advice, offline, lambda: hf_hub_download(repo, file)))


def _fetch_repository(repo: str, offline: bool) -> Path:
    """A hub id's snapshot; safetensors, and the pickled weights only where there are none."""
    from huggingface_hub import snapshot_download

    advice = f"fetch config.json and model.safetensors of https://huggingface.co/{repo} and give their folder"
    with suppress(Exception):  # not in the cache: the client has a whole family of errors for that
        folder = Path(snapshot_download(repo, local_files_only=True, allow_patterns=list(FOLDER_PATTERNS)))
        if any((folder / name).is_file() for name in FOLDER_FILES):
            return folder

    def get() -> str:
        folder = snapshot_download(repo, allow_patterns=list(FOLDER_PATTERNS))
        if not any(Path(folder).glob("model*.safetensors")):
            folder = snapshot_download(repo, allow_patterns=list(PICKLE_PATTERNS))
        return folder

    return Path(_fetching(repo, advice, offline, get))


def _fetching(name: str, advice: str, offline: bool, get: Callable[[], str]) -> str:
    """Run a download and turn every way in which it fails into one error that says what to do."""
    if is_offline(offline):
        raise OfflineError(f"{name} is not on this machine and the network is off: {advice}.")
    try:
        return get()
    except Exception as error:  # the client, its HTTP library and the socket each have their own errors
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise OfflineError(f"{name} could not be fetched ({why}); try again, or {advice}.") from error
