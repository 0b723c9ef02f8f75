"""`maskwright label merge-boundaries`: photos of several sets, whose labels come together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from data.contour_sets import MODEL, column, entry, photo, row, write
from hypothesis import given
from hypothesis import strategies as st
from labeling.toy import content

from maskwright.cli.main import main
from maskwright.data.dsa import DSA
from maskwright.io.contour_files import Contour, ContourRecord
from maskwright.io.rle import RLE
from maskwright.labeling.merge_contours import joined

ONE, TWO, THREE = (column(x, 3) for x in (0.2, 0.5, 0.8))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """COCO's photos with labels of LVIS and PACO; 2 and 3 are in one of them alone."""
    photos = [photo(tmp_path / f"photos/{k}.png", seed=k) for k in range(4)]
    for number, k in enumerate((0, 1, 2)):
        write(
            tmp_path / f"a/LVIS/{number:07d}.json",
            photos[k],
            [entry(MODEL, ONE), entry("gen1", TWO)],
            [entry("LVIS", row(0.1, 2))],
        )
    for number, k in enumerate((3, 1, 0)):
        human = [entry("PACO", row(0.2, 2))]
        write(tmp_path / f"b/PACO/{number:07d}.json", photos[k], [entry(MODEL, THREE)], human)
    write(tmp_path / "b/PACO/_0000009.json", photos[0], [], [entry("merged before", ONE)])
    return tmp_path / "a", tmp_path / "b"


def merge(out: Path, *given: str | Path, more: tuple[str, ...] = ()) -> int:
    return main(["label", "merge-boundaries", *map(str, given), "--out", str(out), "--quiet", *more])


def test_labels_of_shared_photos_come_together(sets: tuple[Path, Path], tmp_path: Path) -> None:
    before = [content(each) for each in sets]
    result = tmp_path / "r.json"
    assert merge(tmp_path / "out", *sets, more=("--json", str(result))) == 0
    assert [content(each) for each in sets] == before
    found = DSA(tmp_path / "out")
    assert [found.items[k].name for k in range(4)] == [
        "LVIS/0000000",
        "LVIS+PACO/0000000",
        "LVIS+PACO/0000001",
        "PACO/0000000",
    ]
    by_photo = {found.image_path(k).stem: found.record(k) for k in range(4)}
    assert sorted(by_photo) == ["0", "1", "2", "3"]
    for name in "01":
        record = by_photo[name]
        assert [each.source for each in record.human] == ["LVIS", "PACO"]
        # The newest stays last, and of the older model the last set's label is taken.
        assert [each.source for each in record.pseudo] == [MODEL, "gen1"]
        assert (record.pseudo[0].label, record.pseudo[1].label) == (RLE.encode(THREE), RLE.encode(TWO))
    assert by_photo["3"] == DSA(sets[1]).record(0)
    told = json.loads(result.read_text())
    assert (told["n"], told["merged"], told["failed"]) == (4, 2, 0)


def test_again_does_nothing_and_after_an_interruption_the_bytes_are_the_same(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    for form in ("dsa", "parquet"):
        out, more = tmp_path / form, ("--format", form)
        assert merge(out, *sets, more=more) == 0
        whole = content(out)
        assert merge(out, *sets, more=more) == 0
        assert content(out) == whole
        (out / "ledger.jsonl").write_bytes(b"")
        assert merge(out, *sets, more=more) == 0
        assert content(out) == whole
    one, other = DSA(tmp_path / "dsa"), DSA(tmp_path / "parquet")
    assert [one.record(k) for k in range(4)] == [other.record(k) for k in range(4)]


def test_copies_of_a_photo_are_found_by_what_they_hold(sets: tuple[Path, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(tmp_path / "photos", tmp_path / "copies")
    for path in (sets[1] / "PACO").iterdir():
        path.write_text(path.read_text().replace(str(tmp_path / "photos"), str(copied)))
    assert merge(tmp_path / "by_path", *sets) == 0
    assert len(DSA(tmp_path / "by_path")) == 6
    assert merge(tmp_path / "by_content", *sets, more=("--by", "content")) == 0
    assert len(DSA(tmp_path / "by_content")) == 4


def test_bad_records_are_named_and_the_others_go_on(
    sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sets[0] / "LVIS/0000002.json").write_text('{"image_path": 3}')
    text = (sets[1] / "PACO/0000001.json").read_text()
    (sets[1] / "PACO/0000001.json").write_text(text.replace("[64, 48]", "[48, 64]"))
    assert merge(tmp_path / "out", *sets) == 1
    errors = capsys.readouterr().err
    assert "LVIS/0000002.json" in errors
    assert "are of one photo by its path, but record other sizes" in errors
    assert [DSA(tmp_path / "out").image_path(k).stem for k in range(2)] == ["0", "3"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("a", "a/../out"), "does not exist"),
        (("a", "out"), "choose another folder"),
        ((), "no set was given"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    sets: tuple[Path, Path],
    tmp_path: Path,
    given: tuple[str, ...],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "out" in given:
        shutil.copytree(sets[0], tmp_path / "out")
    assert merge(tmp_path / "out", *(tmp_path / name for name in given)) in (1, 2)
    assert reason in capsys.readouterr().err


names = st.lists(st.sampled_from("abcdef"), unique=True)


@given(st.lists(names, max_size=4), st.data())
def test_sources_keep_their_order_where_the_sets_agree(given: list[list[str]], data: st.DataObject) -> None:
    order = data.draw(st.permutations("abcdef"))
    label = RLE.encode(column(0.5, 1, 4))
    lists = [sorted(each, key=order.index) for each in given]
    records = [ContourRecord("x", None, tuple(Contour(name, label) for name in each)) for each in lists]
    found = [each.source for each in joined(records, "x", None).pseudo]
    assert sorted(found) == sorted({name for each in lists for name in each})
    for each in lists:
        if len(lists) <= 2:
            assert [name for name in found if name in each] == each
