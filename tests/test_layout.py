"""The layout's promises: imports go one way, and importing does nothing."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from typing import Any

import pytest
from conftest import REPOSITORY

import maskwright

LIBRARIES = set(
    "PIL accelerate cv2 matplotlib numba numpy pydantic rich scipy skimage torch transformers tyro".split()
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}

MODULES = [
    module.name
    for module in pkgutil.walk_packages(maskwright.__path__, "maskwright.")
    if module.name != "maskwright.__main__"
]

# What an import must leave as it was. Libraries are imported first: their habits are not ours.
SIDE_EFFECTS = """
import json, logging, os, random, sys, threading, warnings
import accelerate, cv2, matplotlib, numba, numpy, scipy.io, skimage, torch, transformers, tyro, rich.progress
import transformers.models.sam.modeling_sam, transformers.models.sam2.modeling_sam2
import transformers.models.sam_hq.modeling_sam_hq
from importlib import import_module
from PIL import Image

def state():
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "threads": threading.active_count(),
        "logging": [repr(handler) for handler in logging.getLogger().handlers] + [logging.getLogger().level],
        "random": repr(random.getstate()), "numpy": repr(numpy.random.get_state()),
        "torch": [torch.initial_seed(), torch.get_num_threads(), str(torch.get_default_dtype()),
                  torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()],
        "cv2": cv2.getNumThreads(), "pixels": Image.MAX_IMAGE_PIXELS, "excepthook": repr(sys.excepthook),
        "matplotlib": matplotlib.get_backend(auto_select=False),
    }

changes = {}
for name in sys.argv[1:]:
    before = state()
    import_module(name)
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    if changed:
        changes[name] = changed
print(json.dumps(changes))
"""


def in_new_process(code: str, *argv: str) -> Any:
    done = in_python(code, *argv)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def in_python(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *argv]
    return subprocess.run(
        command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def loaded_after(statement: str) -> set[str]:
    report = "print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    return set(in_new_process(f"import json, sys\n{statement}\n{report}"))


def test_packages_import_only_from_those_below() -> None:
    done = in_python("from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_loads_no_library() -> None:
    assert not loaded_after("import maskwright; maskwright.__version__; dir(maskwright)") & LIBRARIES


def test_public_names_are_there() -> None:
    for name in maskwright.__all__:
        assert getattr(maskwright, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        maskwright.nonsense  # noqa: B018


def test_importing_has_no_side_effects() -> None:
    assert in_new_process(SIDE_EFFECTS, *MODULES) == {}
