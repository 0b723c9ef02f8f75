"""HTML pages: nothing from outside, nothing unescaped."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from maskwright.report import html


class Structure(HTMLParser):
    """Collects tags with their attributes, and the text, and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(document: str) -> Structure:
    structure = Structure()
    structure.feed(document)
    structure.close()
    assert not structure.open
    return structure


def test_a_page_is_whole_and_names_no_address() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    body = html.element(
        "section", html.picture(photo, "black", "A square", zoom="a b"), html.facts({"n": "1"})
    )
    document = html.page("Title", "Lead", body, html.table(["a", "b"], [["x", "1"]]))
    structure = parse(document)
    assert document.startswith("<!doctype html>")
    assert "script" not in [tag for tag, _ in structure.tags]
    for _, attributes in structure.tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
    assert "http://" not in document
    assert "https://" not in document
    assert "url(" not in document


@given(st.text(max_size=40))
def test_text_and_attributes_come_back_as_they_went_in(words: str) -> None:
    # The parser, as a browser, reads a carriage return as a line feed; zero has no place in HTML.
    words = words.replace("\r", "").replace("\0", "")
    structure = parse(html.element("p", words, title=words))
    assert [tag for tag, _ in structure.tags] == ["p"]
    assert structure.text == words
    assert structure.tags[0][1]["title"] == words


def test_markup_of_a_file_name_stays_text() -> None:
    name = '<img src=x onerror="alert(1)">.jpg'
    document = html.page(name, name, html.table([name], [[name]]), html.facts({name: name}))
    assert "<img" not in document
    assert parse(document).text.count(name) == 7


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pictures_can_be_read_back(kind: str) -> None:
    photo = np.full((12, 20, 3), (200, 30, 90), np.uint8)
    uri = html.data_uri(photo, kind)  # type: ignore[arg-type]
    head, data = uri.split(",")
    assert head == f"data:image/{kind};base64"
    back = np.asarray(PILImage.open(io.BytesIO(base64.b64decode(data))))
    assert np.abs(back.astype(int) - photo).max() <= (0 if kind == "png" else 4)
