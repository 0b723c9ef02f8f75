"""Rules that hold for every source file: nothing that runs code from data, no addresses of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "maskwright"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 400

# The one place that opens model files; it may use torch.load, and only with weights_only=True.
WEIGHTS = SOURCE / "io" / "weights.py"

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "torch.load", "eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load",
}  # fmt: skip
FORBIDDEN_FLAGS = {"allow_pickle", "shell", "trust_remote_code"}

# Written in pieces, so that this file does not break its own rule.
MACHINE = re.compile(
    "|".join(
        [
            "(?<![A-Za-z0-9.~$}])/(work|root|home/[a-z]+)" + "/[A-Za-z.]",
            "--(extra-)?index" + "-url",
            "--find" + "-links",
            "py" + r"pi\.(org|python)",
            "files\\.python" + "hosted",
            "whl" + "/cpu",
        ]
    )
)


def named(node: ast.expr) -> str:
    """`torch.load` for the expression torch.load; empty for anything that is no dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and named(node.value):
        return f"{named(node.value)}.{node.attr}"
    return ""


def offences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            if (node.module or "").split(".")[0] in FORBIDDEN_MODULES or whole & FORBIDDEN_CALLS:
                yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            if named(node.func) in FORBIDDEN_CALLS:
                yield named(node.func)
            yield from (
                f"{keyword.arg}=True"
                for keyword in node.keywords
                if keyword.arg in FORBIDDEN_FLAGS
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            )


def tracked() -> list[Path]:
    """The files under version control, or, in an unpacked archive, all that is not hidden or built."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
        return [path for path in paths if path.is_file()]
    return [path for folder in ("src", "tests", "docs") for path in (REPOSITORY / folder).rglob("*.*")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    found = list(offences(ast.parse(path.read_text(encoding="utf-8"))))
    allowed = {"torch.load"} if path == WEIGHTS else set()
    assert set(found) <= allowed


def test_model_files_are_loaded_as_weights_only() -> None:
    tree = ast.parse(WEIGHTS.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    loads = [call for call in calls if named(call.func) == "torch.load"]
    assert loads, "the reader of .pth files has moved: move this rule with it"
    for call in loads:
        flags = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert flags.get("weights_only") == "True"


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import loads", "from torch import load", "torch.load(f)", "eval(x)",
     "np.load(f, allow_pickle=True)", "run(x, shell=flag)", "os.system(x)"],
)  # fmt: skip
def test_the_rule_sees_what_it_forbids(code: str) -> None:
    assert list(offences(ast.parse(code)))


def test_no_addresses_of_one_machine() -> None:
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:  # a picture or weights
            continue
        found += [
            f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
            for number, line in enumerate(lines, 1)
            if MACHINE.search(line)
        ]
    assert not found, "\n".join(found)


def test_files_stay_short() -> None:
    long = {str(path.relative_to(SOURCE)): count for path in FILES if (count := lines_of(path)) > MAX_LINES}
    assert not long


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
