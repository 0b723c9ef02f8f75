"""Label photos under Ray with two actors, one of which dies on the way: `ray_run.py OUT PHOTOS [POISON]`."""

from __future__ import annotations

import sys
from pathlib import Path

from labeling.toy import label

if __name__ == "__main__":
    out, photos, *poison = sys.argv[1:]
    label(Path(out), Path(photos), engine="ray", workers=2, poison="".join(poison))
