"""`maskwright doctor` on this machine, and on ones where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maskwright import runtime
from maskwright.cli import doctor
from maskwright.cli.doctor import Finding
from maskwright.models import hub

CPU = torch.device("cpu")


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_report_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.main(["--device", "cpu", "--json", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    wrong = [finding["name"] for finding in result["findings"] if finding["ok"] is False]
    assert [failure["item"] for failure in result["failures"]] == wrong
    assert code == bool(wrong)
    out = capsys.readouterr().out
    assert all(f"{finding['name']}: " in out for finding in result["findings"])
    assert "cpu: asked for" in out


def test_unknown_device_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--device", "gpu"]) == 1
    assert "'gpu'" in capsys.readouterr().err


def test_arithmetic_is_sound_here_and_a_broken_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.ok for finding in doctor.check_arithmetic(CPU)] == [True, True]
    conv2d = torch.nn.functional.conv2d

    def overflowing(pixels: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        result = conv2d(pixels, kernel)
        return result * float("nan") if pixels.dtype == torch.bfloat16 else result

    monkeypatch.setattr(torch.nn.functional, "conv2d", overflowing)
    assert [finding.ok for finding in doctor.check_arithmetic(CPU)] == [True, False]


@pytest.mark.parametrize("own", [False, True])
def test_arithmetic_that_is_emulated_is_told(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setattr(runtime, "computes", lambda kind, _: own or kind == torch.float32)
    plain, half = doctor.check_arithmetic(CPU)
    assert "emulated" not in plain.text
    assert ("emulated on this processor" in half.text) is not own


def test_old_and_missing_requirements_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "gone":
            raise PackageNotFoundError(name)
        return "1.2.0+cpu"

    lines = ["fine>=1.2", "old>=1.3", "gone>=1", "extra>=9; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "installed_version", version)
    findings = by_name(doctor.check_versions())
    assert {name: findings[name].ok for name in ("fine", "old", "gone")} == {
        "fine": True, "old": False, "gone": False
    }  # fmt: skip
    assert "extra" not in findings
    assert "pip install 'old>=1.3'" in findings["old"].text


def test_little_disk_is_worth_a_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_MODELS", str(tmp_path / "not" / "there"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    findings = by_name(doctor.check_folders())
    assert {finding.ok for finding in findings.values()} == {None}
    assert "not made yet, 1 GB free" in findings["models placed by hand"].text


def test_missing_and_changed_packaged_models_are_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "local_file", lambda name: None)
    assert [finding.ok for finding in doctor.check_nano(CPU)] == [False]
    changed = tmp_path / "nano.safetensors"
    changed.write_bytes(b"other")
    monkeypatch.setattr(hub, "local_file", lambda name: changed)
    monkeypatch.setitem(hub.NAMED, "nano", hub.NamedModel("nano", 1, "", changed.name, sha256="0" * 64))
    (finding,) = doctor.check_nano(CPU)
    assert finding.ok is False
    assert str(changed) in finding.text
    assert changed.exists()
