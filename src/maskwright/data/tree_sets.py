"""The table of datasets that are trees of photos and label maps: folders, encodings, classes.

Folders are those of the releases and of DirectSAM's list. Where maps were prepared by a script that is not
public (Mapillary Metropolis) or nothing says how they are encoded (TreeCount, MyFood), any map is read:
numbers of 8 or 16 bits, palette indices, or colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maskwright.data.colours import Colour, Palette
from maskwright.data.trees import Part, Tree
from maskwright.io.palette import voc_colours


def numbered(names: str, first: int = 0) -> dict[int, str]:
    """Names of classes, separated by commas, with their numbers."""
    return dict(enumerate((name.strip() for name in names.split(",")), first))


def coloured(
    classes: Sequence[tuple[str, Colour]], *, numbers: bool = False
) -> tuple[dict[int, str], Palette]:
    """The names and the palette of classes numbered from 0."""
    names = {number: name for number, (name, _) in enumerate(classes)}
    return names, Palette({number: colour for number, (_, colour) in enumerate(classes)}, numbers)


_PEOPLE = (
    "background, hat, hair, glove, sunglasses, upper clothes, dress, coat, socks, pants, {}, scarf, skirt, "
    "face, left arm, right arm, left leg, right leg, left shoe, right shoe"
)
_LIP = numbered(_PEOPLE.format("jumpsuit"))
CIHP = numbered(_PEOPLE.format("torso skin"))

# Cityscapes' numbers, names and colours, which GTA5's label files use as palette indices.
_STREETS: Sequence[tuple[str, Colour]] = (
    ("unlabeled", (0, 0, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("rectification border", (0, 0, 0)),
    ("out of roi", (0, 0, 0)),
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
_GTA5_NAMES, _GTA5_PALETTE = coloured(_STREETS, numbers=True)

_UAVID_NAMES, _UAVID_PALETTE = coloured(
    (
        ("background clutter", (0, 0, 0)),
        ("building", (128, 0, 0)),
        ("road", (128, 64, 128)),
        ("static car", (192, 0, 192)),
        ("tree", (0, 128, 0)),
        ("low vegetation", (128, 128, 0)),
        ("human", (64, 64, 0)),
        ("moving car", (64, 0, 128)),
    )
)
_SUIM_NAMES, _SUIM_PALETTE = coloured(
    (
        ("water", (0, 0, 0)),
        ("diver", (0, 0, 255)),
        ("plants", (0, 255, 0)),
        ("wreck", (0, 255, 255)),
        ("robot", (255, 0, 0)),
        ("reef", (255, 0, 255)),
        ("fish", (255, 255, 0)),
        ("sea floor", (255, 255, 255)),
    )
)
ISAID_NAMES, ISAID_PALETTE = coloured(
    (
        ("background", (0, 0, 0)),
        ("ship", (0, 0, 63)),
        ("storage tank", (0, 63, 63)),
        ("baseball diamond", (0, 63, 0)),
        ("tennis court", (0, 63, 127)),
        ("basketball court", (0, 63, 191)),
        ("ground track field", (0, 63, 255)),
        ("bridge", (0, 127, 63)),
        ("large vehicle", (0, 127, 127)),
        ("small vehicle", (0, 0, 127)),
        ("helicopter", (0, 0, 191)),
        ("swimming pool", (0, 0, 255)),
        ("roundabout", (0, 191, 127)),
        ("soccer ball field", (0, 127, 191)),
        ("plane", (0, 127, 255)),
        ("harbor", (0, 100, 155)),
    )
)

_VOC = "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, "
VOC_NAMES = numbered(_VOC + "horse, motorbike, person, potted plant, sheep, sofa, train, tv monitor")
VOC_VOID = 255
VOC_PALETTE = Palette(
    {number: (red, green, blue) for number, (red, green, blue) in enumerate(voc_colours().tolist())},
    numbers=True,
)
"""PASCAL VOC's, whose classes DRAM uses; 255 is the border that nobody labelled."""


def _sides(*splits: str, images: str, labels: str) -> dict[str, list[Part]]:
    """Splits that are folders of the same name, each with a folder of photos and one of maps."""
    return {split: [Part(split, (images,), (labels,))] for split in splits}


_LIP_MAPS = "TrainVal_parsing_annotations"

TREES: Mapping[str, Tree] = MappingProxyType(
    {
        "lip": Tree(
            splits={
                split: [
                    Part(
                        "",
                        tuple(
                            f"{above}{split}_images"
                            for above in ("", *("TrainVal_images/" * n for n in (1, 2)))
                        ),
                        tuple(f"{_LIP_MAPS}/" * n + f"{split}_segmentations" for n in (1, 2)),
                    )
                ]
                for split in ("train", "val")
            },
            shape="""\
  FOLDER/
    train_images/NAME.jpg                                        split=train; or in TrainVal_images/
    TrainVal_parsing_annotations/train_segmentations/NAME.png    numbers of 19 classes
    val_images/, …/val_segmentations/                            split=val""",
            mode="classes",
            names=_LIP,
        ),
        "gta5": Tree(
            splits={"train": [Part("", ("images",), ("labels",))]},
            shape="""\
  FOLDER/
    images/00001.png
    labels/00001.png     palette indices or numbers (Cityscapes' classes), or the colours themselves""",
            mode="classes",
            names={**_GTA5_NAMES, 34: "licence plate"},
            palette=_GTA5_PALETTE,
        ),
        "metropolis": Tree(
            splits={
                split: [Part(split, ("images",), ("labels",), wrapper="preprocessed")]
                for split in ("train", "val")
            },
            shape="""\
  FOLDER/
    preprocessed/train/images/NAME.jpg      val/… for split=val
    preprocessed/train/labels/NAME.png      a number or colour for each segment""",
            packed=True,
        ),
        "treecount": Tree(
            splits={"train": [Part("", ("image", "images"), ("label", "labels"))]},
            shape="""\
  FOLDER/
    image/NAME.png      or .tif, .jpg; or images/
    label/NAME.png      or .tif; a number or colour for each tree; or labels/""",
            packed=True,
        ),
        "egohos": Tree(
            splits=_sides("train", "val", "test_indomain", "test_outdomain", images="image", labels="label"),
            shape="""\
  FOLDER/
    train/image/NAME.jpg      val, test_indomain or test_outdomain for split=…
    train/label/NAME.png      numbers 1 to 8""",
            mode="classes",
            names=numbered(
                "left hand, right hand, object of the left hand, object of the right hand, "
                "object of both hands, second object of the left hand, second object of the right hand, "
                "second object of both hands",
                1,
            ),
        ),
        "uavid": Tree(
            splits={
                split: [Part(f"uavid_{split}/*", ("Images",), ("Labels",))] for split in ("train", "val")
            },
            shape="""\
  FOLDER/
    uavid_train/seq1/Images/000000.png      uavid_val/… for split=val
    uavid_train/seq1/Labels/000000.png      one colour for each of 8 classes""",
            mode="classes",
            names=_UAVID_NAMES,
            palette=_UAVID_PALETTE,
        ),
        "suim": Tree(
            splits={
                "train_val": [Part("train_val", ("images",), ("masks",))],
                "test": [Part("TEST", ("images",), ("masks",))],
                "train": [Part("train", ("images",), ("masks",))],
                "val": [Part("val", ("images",), ("masks",))],
            },
            shape="""\
  FOLDER/
    train_val/images/NAME.jpg     TEST/… for split=test; train/… and val/… for copies that are split so
    train_val/masks/NAME.bmp      or .png; one of the eight pure colours for each class""",
            mode="classes",
            names=_SUIM_NAMES,
            palette=_SUIM_PALETTE,
        ),
        "myfood": Tree(
            splits={split: [Part("", (split,), (f"{split}_ann",))] for split in ("train", "val", "test")},
            shape="""\
  FOLDER/
    train/NAME.png          or .jpg; val/ and test/ for split=…
    train_ann/NAME.png      numbers or colours of classes; val_ann/, test_ann/""",
            packed=True,
            mode="classes",
        ),
    }
)
"""By kind. Sets with options of their own have their trees beside their readers."""
