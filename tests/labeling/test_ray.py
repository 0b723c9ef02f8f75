"""Ray Data: the bytes of the local engine with two actors, one of which dies on the way."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from labeling.test_engine import ENVIRONMENT
from labeling.toy import content, label, make_photos

from maskwright.errors import ConfigError

SCRIPT = Path(__file__).with_name("ray_run.py")


def under_ray(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


# Most of it is Ray's own start, which on a busy machine takes minutes.
@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'maskwright[ray]'")
def test_two_actors_of_which_one_is_killed_give_the_bytes_of_the_local_engine(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 9, bad=[4])
    label(tmp_path / "local", photos)
    done = under_ray(tmp_path / "ray", photos, "0006.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists(), "nobody was killed"
    assert content(tmp_path / "ray") == content(tmp_path / "local")


def test_without_ray_the_user_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'maskwright\[ray\]'"):
        label(tmp_path / "out", make_photos(tmp_path / "photos", 1), engine="ray")
