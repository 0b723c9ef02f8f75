"""Sets with COCO's photos of both its folders, in COCO's form.

LVIS: outlines of objects of more than a thousand categories (Gupta et al., CVPR 2019). PACO: objects of 75
categories and their parts (Ramanathan et al., CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from maskwright.data.coco import TABLES, COCOInstances
from maskwright.errors import DatasetError

TREE = """\
  FOLDER/
    lvis_v1_val.json                  in it or in annotations/; of several: annotations=FILE
    train2017/000000000009.jpg …      COCO's photos, where the file's coco_url has them
    val2017/000000000139.jpg …        elsewhere: images=DIR, the folder that holds these two"""

PACO_TREE = TREE.replace("lvis_v1_val.json     ", "paco_lvis_v1_val.json")


class LVIS(COCOInstances):
    """The photos an LVIS file lists, each with its annotated objects.

    The validation photos of LVIS come from both of COCO's folders, so each is looked for where its `coco_url`
    ends (`val2017/NAME.jpg`), or by that name in the folder itself.
    """

    kind, tree, pattern = "lvis", TREE, "lvis*"
    tables: Mapping[str, Sequence[str]] = MappingProxyType(
        {**TABLES, "images": ("id", "coco_url", "height", "width")}
    )

    def _guess_images(self, root: Path) -> str:
        return "."

    def _photo_name(self, entry: Mapping[str, Any]) -> str:
        parts = urlsplit(str(entry["coco_url"])).path.split("/")
        if len(parts) < 3:
            message = f"image {entry['id']} has the coco_url {entry['coco_url']!a}, which names no photo"
            raise DatasetError(f"{self.file}: {message}.")
        name = "/".join(parts[-2:])
        return parts[-1] if (self.folder / parts[-1]).is_file() else name


class PACO(LVIS):
    """The photos a PACO-LVIS file lists, with objects and parts alike; a part's category names both."""

    kind, tree, pattern = "paco", PACO_TREE, "paco_lvis*"
