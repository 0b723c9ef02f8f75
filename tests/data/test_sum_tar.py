from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from data.label_sets import LOW, disc, made, sigmoid
from data.miniatures import photo, save

from maskwright.data import sum_tar
from maskwright.data.check import check_dataset
from maskwright.data.registry import open_dataset
from maskwright.data.transforms import shrink
from maskwright.errors import DatasetError, FileError
from maskwright.io.byte_maps import decode_map, encode_map
from maskwright.types import ByteArray, FloatArray, Maps

SIZE = (30, 50)
HEADER = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,stability_score,"
    "crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
)
LABELS = [disc(5, 5, 3), disc(11, 4, 2)]
REFINED = [disc(6, 5, 3), disc(11, 4, 1)]


def bytes_of(probability: FloatArray) -> ByteArray:
    return np.rint(probability * 255).astype(np.uint8)


def whole(low: FloatArray) -> FloatArray:
    return sigmoid(made(SIZE, low).logits())


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def table(rows: list[tuple[int, int]]) -> bytes:
    lines = [f"{k},{area},0,0,9,9,3.5,4.5,0.9,0.96,0,0,{SIZE[1]},{SIZE[0]}" for k, area in rows]
    return "\n".join([HEADER, *lines, ""]).encode()


def label_files(folder: str = "") -> dict[str, bytes]:
    soft = [bytes_of(whole(low)) for low in LABELS]
    rows = [(k, int((values > 127).sum())) for k, values in enumerate(soft)]
    masks = {f"{folder}{k:03d}_probs.png": encode_map(values) for k, values in enumerate(soft)}
    return {f"{folder}metadata.csv": table(rows), **masks}


def make(root: Path, names: tuple[str, ...] = ("sa_1",)) -> Path:
    for seed, name in enumerate(names):
        save(root / "photos/sa_000000" / f"{name}.jpg", photo(seed, SIZE))
        write_tar(root / "labels" / f"{name}.tar", label_files("any/"))
        write_tar(
            root / "maps" / f"{name}.tar",
            {f"{k}.png": encode_map(bytes_of(sigmoid(low))) for k, low in enumerate(REFINED)},
        )
    return root


@pytest.fixture(autouse=True)
def small_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    # A frame of 64 brings maps of 16 to photos of 50 as one of 1024 does maps of 256 to SA-1B's.
    monkeypatch.setattr(sum_tar, "SIDE", 64)


def spec(root: Path, query: str = "") -> str:
    return f"sumtar:{root / 'labels'}?images=../photos&maps=../maps{query}"


def test_masks_soft_masks_and_uncertainties(tmp_path: Path) -> None:
    dataset = open_dataset(spec(make(tmp_path, ("sa_1", "sa_2")), "&min_refine_ratio=10"))
    assert len(dataset) == 2
    for sample in dataset:
        assert sample.ids == (0, 1)
        assert isinstance(sample.soft, Maps)
        assert isinstance(sample.uncertainty, Maps)
        for k in range(2):
            assert (sample.masks[k] == (bytes_of(whole(LABELS[k])) > 127)).all()
            assert np.abs(sample.soft[k] - whole(LABELS[k])).max() <= 0.5 / 255 + 1e-6
            exact = np.abs(whole(LABELS[k]) - whole(REFINED[k]))
            assert np.abs(sample.uncertainty[k] - exact).max() < 0.02
            assert exact.max() > 0.4
            for maps, full in ((sample.soft, whole(LABELS[k])), (sample.uncertainty, exact)):
                assert np.abs(maps.at(k, (2, 3)) - shrink(full, (2, 3))).mean() < 0.01


def test_refined_maps_lie_in_the_padded_square(tmp_path: Path) -> None:
    # An outline half way down the square is at row 25 of a photo 50 wide and 30 high, not at row 15.
    half = np.zeros((LOW, LOW), np.uint8)
    half[: LOW // 2] = 255
    root = make(tmp_path)
    write_tar(root / "maps/sa_1.tar", {"000.png": encode_map(half)})
    (sample,) = open_dataset(spec(root, "&min_refine_ratio=0"))
    assert sample.uncertainty is not None
    column = sample.uncertainty[0][:, 45]
    assert (column[:23] > 0.95).all()
    assert (column[28:] < 0.05).all()


def test_the_uncertainty_is_zero_without_refined_map_and_for_small_masks(tmp_path: Path) -> None:
    root = make(tmp_path)
    (sample,) = open_dataset(spec(root, "&min_refine_ratio=10000"))
    assert sample.uncertainty is not None
    assert not np.asarray(sample.uncertainty).any()
    write_tar(root / "maps/sa_1.tar", {"1.png": encode_map(bytes_of(sigmoid(REFINED[1])))})
    (sample,) = open_dataset(spec(root, "&min_refine_ratio=10"))
    assert sample.uncertainty is not None
    assert [bool(u.any()) for u in sample.uncertainty] == [False, True]
    (sample,) = open_dataset(f"sumtar:{root / 'labels'}?images=../photos")
    assert sample.uncertainty is None
    assert sample.soft is not None


def test_area_filters(tmp_path: Path) -> None:
    root = make(tmp_path)
    areas = [int((bytes_of(whole(low)) > 127).sum()) for low in LABELS]
    ratio = areas[1] * (1024 / 50) ** 2 / 100
    assert open_dataset(spec(root, f"&min_ratio={ratio + 1}"))[0].ids == (0,)
    assert open_dataset(spec(root, f"&max_ratio={areas[1] / 1500}"))[0].ids == (1,)
    none = open_dataset(spec(root, "&min_ratio=1e9"))[0]
    assert none.masks.shape == (0, *SIZE)


def test_maps_of_other_photos_are_never_taken(tmp_path: Path) -> None:
    root = make(tmp_path, ("sa_1", "sa_2"))
    (root / "maps/sa_2.tar").rename(root / "maps/sa_3.tar")
    with pytest.raises(DatasetError, match=r"sa_2\.jpg: has no refined masks sa_2\.tar"):
        open_dataset(spec(root))
    sample = open_dataset(spec(root, "&partial=true&min_refine_ratio=10"))[1]
    assert sample.uncertainty is not None
    assert not np.asarray(sample.uncertainty).any()
    (root / "maps/sa_1.tar").unlink()
    with pytest.raises(DatasetError, match="no archive named like one in"):
        open_dataset(spec(root, "&partial=true"))


def test_photos_without_archive_are_no_items_but_archives_need_a_photo(tmp_path: Path) -> None:
    root = make(tmp_path)
    save(root / "photos/sa_9.jpg", photo())
    assert len(open_dataset(spec(root))) == 1
    (root / "photos/sa_000000/sa_1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"sa_1\.tar: belongs to no image"):
        open_dataset(spec(root))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"any/metadata.csv": b"id,area\n0,5\n"},
            r"metadata\.csv\]: cannot be read: it has no column crop_box_w",
        ),
        ({"any/metadata.csv": table([(0, 99), (7, 99)])}, "lists 007_probs.png, which is not there"),
        ({"any/metadata.csv": table([(0, 99999)])}, "line 2 has an area of 99999"),
        ({"any/metadata.csv": b"\xff\xfe\x00"}, "cannot be read"),
        ({"any/000_probs.png": b"nonsense"}, r"sa_1\.tar\[000_probs\.png\]: it is damaged"),
        ({"any/000_probs.png": label_files()["000_probs.png"][:-40]}, r"000_probs\.png\]: it is damaged"),
        ({"any/000_probs.png": encode_map(np.zeros((30, 49), np.uint8))}, "is 49×30, and .*is 50×30"),
        ({"any/000_probs.png": encode_map(np.zeros((99, 99), np.uint8))}, "more than 1,500"),
    ],
)
def test_malformed_archives_are_refused_by_name(
    tmp_path: Path, changes: dict[str, bytes], message: str
) -> None:
    root = make(tmp_path)
    write_tar(root / "labels/sa_1.tar", {**label_files("any/"), **changes})
    with pytest.raises(FileError, match=message) as caught:
        open_dataset(spec(root, "&min_ratio=0"))[0]
    assert "sa_1.tar" in str(caught.value)
    assert len(check_dataset(spec(root, "&min_ratio=0")).errors) == 1


def test_an_archive_without_table_and_cut_ones_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path)
    path = root / "labels/sa_1.tar"
    for data in (path.read_bytes()[:1500], b""):
        path.write_bytes(data)
        with pytest.raises(FileError, match=r"sa_1\.tar"):
            open_dataset(spec(root))[0]
    write_tar(path, {"000_probs.png": b""})
    with pytest.raises(FileError, match=r"holds no metadata\.csv"):
        open_dataset(spec(root))[0]


@pytest.mark.parametrize(("kept", "times"), [(1 << 20, 1), (0, 2)])
def test_a_soft_mask_is_decoded_once_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, times: int
) -> None:
    decoded: list[str] = []

    def counting(data: bytes, where: str, max_pixels: int) -> ByteArray:
        decoded.append(where)
        return decode_map(data, where, max_pixels)

    monkeypatch.setattr(sum_tar, "decode_map", counting)
    monkeypatch.setattr(sum_tar, "KEPT", kept)
    sample = open_dataset(spec(make(tmp_path), "&min_ratio=0&min_refine_ratio=0"))[0]
    assert sample.uncertainty is not None
    assert np.asarray(sample.uncertainty).any()
    soft = [where for where in decoded if where.endswith("_probs.png]")]
    assert len(soft) == times * len(LABELS)
    assert len(decoded) - len(soft) == len(REFINED)
