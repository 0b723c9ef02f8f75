"""Fetching a link list from a server that breaks off, changes its files, refuses, and lies."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from maskwright.cli.main import main
from maskwright.data.download import Download, Fetched, Link, read_links
from maskwright.errors import FileError


def archive(seed: int = 0, size: int = 300_000) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        content = np.random.default_rng(seed).bytes(size)
        entry = tarfile.TarInfo("sav_000/sav_000001.mp4")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@dataclass
class Server:
    """Files by path; `cut` bytes after which an answer breaks off; `refuse` statuses to answer first."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    refuse: list[int] = field(default_factory=list)
    ranges: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def link(self, name: str, digest: tuple[str, str] | None = None) -> Link:
        return Link(name, f"{self.address}/{name}", digest)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range") if state.ranges else None
            state.requests.append((self.path, self.headers.get("Range")))
            if state.refuse or self.path.lstrip("/") not in state.files:
                self.send_error(state.refuse.pop(0) if state.refuse else 404)
                return
            content = state.files[self.path.lstrip("/")]
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if self.headers.get("If-Range", tag) != tag:
                start = 0
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", tag)
            self.end_headers()
            rest = content[start:]
            self.wfile.write(rest if state.cut is None else rest[: state.cut])

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def quick(folder: Path, **options: int) -> Download:
    return Download(folder, pause_s=0.001, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_breaks_off_is_carried_on_until_it_is_whole(server: Server, tmp_path: Path) -> None:
    content = server.files["a.tar"] = archive()
    server.cut = 100_000
    fetched = quick(tmp_path).fetch(server.link("a.tar"))
    assert fetched.path.read_bytes() == content
    assert (fetched.size, fetched.received) == (len(content), len(content))
    assert [wanted for _, wanted in server.requests] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
        "bytes=300000-",
    ]
    assert names(tmp_path) == ["a.tar"]


def test_a_later_run_goes_on_and_one_after_that_only_checks(server: Server, tmp_path: Path) -> None:
    content = server.files["a.tar"] = archive()
    (tmp_path / "a.tar.part").write_bytes(content[:250_000])
    assert quick(tmp_path).fetch(server.link("a.tar")).received == len(content) - 250_000
    assert server.requests == [("/a.tar", "bytes=250000-")]
    assert quick(tmp_path).fetch(server.link("a.tar")).received == 0
    assert len(server.requests) == 1
    # Killed between the last byte and the new name.
    (tmp_path / "a.tar").rename(tmp_path / "a.tar.part")
    assert quick(tmp_path).fetch(server.link("a.tar")).received == 0
    assert (tmp_path / "a.tar").read_bytes() == content


def test_a_file_that_changed_since_is_fetched_from_the_start(server: Server, tmp_path: Path) -> None:
    content = server.files["a.tar"] = server.files["b.tar"] = archive()
    (tmp_path / "a.tar.part").write_bytes(archive(1)[:200_000])
    (tmp_path / "a.tar.part.etag").write_text('"of another file"')
    assert quick(tmp_path).fetch(server.link("a.tar")).path.read_bytes() == content
    # More than the whole file.
    (tmp_path / "b.tar.part").write_bytes(bytes(900_000))
    assert quick(tmp_path).fetch(server.link("b.tar")).path.read_bytes() == content
    assert names(tmp_path) == ["a.tar", "b.tar"]


def test_a_server_that_sends_nothing_more_is_given_up_and_the_part_stays(
    server: Server, tmp_path: Path
) -> None:
    server.files["a.tar"], server.cut = archive(), 0
    (tmp_path / "a.tar.part").write_bytes(archive()[:1000])
    with pytest.raises(FileError, match=r"broke off at 1,000 of 3.*given up after 3 new tries"):
        quick(tmp_path, retries=3).fetch(server.link("a.tar"))
    assert len(server.requests) == 4
    assert names(tmp_path) == ["a.tar.part"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    content = server.files["a.tar"] = archive()
    server.ranges = False
    (tmp_path / "a.tar.part").write_bytes(b"x" * 1000)
    assert quick(tmp_path).fetch(server.link("a.tar")).path.read_bytes() == content


def test_a_busy_server_is_asked_again_and_an_expired_link_is_not(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = b"abc"
    server.refuse = [503, 429, 500]
    assert quick(tmp_path).fetch(server.link("a.bin")).size == 3
    server.refuse = [503] * 9
    with pytest.raises(FileError, match=r"503 .*given up after 2 new tries"):
        quick(tmp_path, retries=2).fetch(server.link("b.bin"))
    server.refuse, server.requests = [403], []
    with pytest.raises(FileError, match="get a new list"):
        quick(tmp_path).fetch(server.link("b.bin"))
    assert len(server.requests) == 1


def test_a_damaged_archive_or_a_wrong_digest_is_removed(server: Server, tmp_path: Path) -> None:
    server.files |= {"a.tar": archive()[:200_000], "b.tar": b"<html>" * 200, "c.bin": b"abc"}
    for name in ("a.tar", "b.tar"):
        with pytest.raises(FileError, match="it is no archive"):
            quick(tmp_path).fetch(server.link(name))
    with pytest.raises(FileError, match="its sha256 is"):
        quick(tmp_path).fetch(server.link("c.bin", ("sha256", "0" * 64)))
    assert names(tmp_path) == []
    good = hashlib.sha256(b"abc").hexdigest()
    assert quick(tmp_path).fetch(server.link("c.bin", ("sha256", good))).size == 3
    # A file that is there but damaged is fetched anew.
    (tmp_path / "c.bin").write_bytes(b"ab")
    assert quick(tmp_path).fetch(server.link("c.bin", ("sha256", good))).received == 3


@pytest.mark.parametrize("name", ["../x.tar", "/x.tar", "a/../../x.tar", "C:\\x.tar"])
def test_a_name_that_leaves_the_folder_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match="may not leave"):
        quick(tmp_path / "out").fetch(server.link(name))
    assert server.requests == []


def test_a_full_disk_is_said_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.tar"] = archive()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(FileError, match="do not fit on the disk"):
        quick(tmp_path).fetch(server.link("a.tar"))
    assert names(tmp_path) == []


def test_giving_up_keeps_what_is_fetched(server: Server, tmp_path: Path) -> None:
    server.files["a.tar"], server.refuse = archive(), [503] * 1000
    (tmp_path / "a.tar.part").write_bytes(b"x" * 1000)
    events = Download(tmp_path, pause_s=0.05, retries=1000).run([server.link("a.tar")], tick_s=0.02)
    assert next(events) is None
    events.close()  # type: ignore[attr-defined]
    assert names(tmp_path) == ["a.tar.part"]


def write_list(path: Path, *rows: str, header: str = "file_name\tcdn_link") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_list_is_a_table_with_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfmd5\tfile_name\tcdn_link\r\nAB\ta.tar\thttps://x.org/a?b=1&c=2\r\n")
    assert read_links(path) == [Link("a.tar", "https://x.org/a?b=1&c=2", ("md5", "ab"))]
    link = "http://x.org/a"
    for rows, header, message in (
        ([f"a\t{link}"], "name\tcdn_link", "no column file_name"),
        ([], "", "no column file_name and no column cdn_link"),
        (["a\tfile:///etc/passwd"], None, "line 2: 'a' has no http"),
        (["a"], None, "has no http"),
        ([f"a\t{link}", f"./a\t{link}"], None, "line 3: './a' is listed twice"),
    ):
        with pytest.raises(FileError, match=message):
            read_links(write_list(path, *rows, **({} if header is None else {"header": header})))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="cannot be read as a table"):
        read_links(path)
    with pytest.raises(FileError, match="does not exist"):
        read_links(tmp_path / "none.txt")


def test_the_command_fetches_several_names_the_failed_and_ends_with_code_1(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files |= {f"sav_{k:03d}.tar": archive(k) for k in range(3)}
    server.cut = 200_000
    rows = [f"{name}\t{server.address}/{name}" for name in [*server.files, "gone.tar"]]
    path = write_list(tmp_path / "list.txt", *rows, f"../evil.tar\t{server.address}/sav_000.tar")
    target = tmp_path / "result.json"
    argv = ["data", "download-sav", str(path), "--out", str(tmp_path / "out"), "--jobs", "2"]
    code = main([*argv, "--json", str(target)])
    result = json.loads(target.read_text())
    assert code == 1
    assert [entry["file"] for entry in result["files"]] == list(server.files)
    assert result["received"] == sum(map(len, server.files.values()))
    assert sorted(failure["item"] for failure in result["failures"]) == ["../evil.tar", "gone.tar"]
    output = capsys.readouterr()
    assert "3 of 5 files" in output.out
    assert "gone.tar: the server answers 404" in output.err
    assert main([*argv, "--jobs", "0"]) == 2


def test_outcomes_come_with_their_links(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = b"abc"
    links = [server.link("a.bin"), server.link("b.bin")]
    events = dict(filter(None, quick(tmp_path).run(links)))
    assert isinstance(events[links[0]], Fetched)
    assert isinstance(events[links[1]], FileError)
