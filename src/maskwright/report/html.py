"""Self-contained HTML pages: escaped text, embedded pictures, one style sheet, nothing fetched, no scripts.

A page is built from `element`s. Every plain string is escaped; only `Html`, which these functions make, is
taken as it is, so file names and model names from users cannot become markup.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Literal

from PIL import Image as PILImage

from maskwright.types import ByteArray

_VOID = frozenset({"img", "meta", "br", "hr", "link"})
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Tells the browser itself to refuse whatever is not in the page."""


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | None) -> Html:
    """An element with escaped children and attributes.

    Args:
        tag: its name.
        children: strings are escaped, `Html` is kept.
        attributes: a trailing underscore is dropped (`class_`), other underscores become hyphens; None leaves
            the attribute out.
    """
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    opening = "".join(
        f' {name}="{html.escape(value, quote=True)}"' for name, value in pairs if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{opening}>")
    return Html(f"<{tag}{opening}>{join(*children)}</{tag}>")


def join(*children: str) -> Html:
    """Children one after the other, plain strings escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def picture(
    pixels: ByteArray,
    alt: str,
    caption: str = "",
    kind: Literal["jpeg", "png"] = "jpeg",
    zoom: str | None = None,
) -> Html:
    """A figure with the picture embedded.

    Args:
        pixels: (H, W, 3) uint8.
        alt: what it shows, for those who cannot see it.
        caption: below the picture.
        kind: jpeg is small; png is exact.
        zoom: an id that is unique in the page; given, a click fills the window with the picture.
    """
    image = element("img", src=data_uri(pixels, kind), alt=alt, loading="lazy")
    if zoom is not None:
        zoom = re.sub(r"[^A-Za-z0-9_-]+", "-", zoom)
        image = join(
            element("a", image, href=f"#{zoom}", class_="open", title="Enlarge"),
            element("a", "Close", href=f"#{zoom}-closed", class_="close"),
        )
    caption_element = element("figcaption", caption) if caption else Html("")
    return element("figure", image, caption_element, id=zoom)


def data_uri(pixels: ByteArray, kind: Literal["jpeg", "png"] = "jpeg") -> str:
    """The picture as a data URI."""
    encoded = base64.b64encode(encode(pixels, kind)).decode("ascii")
    return f"data:image/{kind};base64,{encoded}"


def encode(pixels: ByteArray, kind: Literal["jpeg", "png"] = "jpeg") -> bytes:
    """The picture as the bytes of a file."""
    buffer = io.BytesIO()
    if kind == "jpeg":
        # Full colour resolution: thin coloured outlines are what these pictures are about.
        PILImage.fromarray(pixels).save(buffer, "JPEG", quality=86, subsampling=0, optimize=True)
    else:
        PILImage.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> Html:
    """A table that scrolls sideways on narrow screens; columns from `numbers_from` on are set as numbers."""

    def cells(tag: str, row: Sequence[str]) -> Html:
        return join(
            *(
                element(tag, cell, class_="number" if i >= numbers_from else None)
                for i, cell in enumerate(row)
            )
        )

    head = element("thead", element("tr", cells("th", headings)))
    body = element("tbody", *(element("tr", cells("td", row)) for row in rows))
    return element("div", element("table", head, body), class_="scroll")


def facts(pairs: Mapping[str, str]) -> Html:
    """Short facts as a row of labelled chips."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in pairs.items()),
        class_="facts",
    )


def page(title: str, lead: str, *sections: str) -> str:
    """The whole document: a header with `title` and `lead`, then the sections."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(_style())),
    )
    header = element("header", element("h1", title), element("p", lead, class_="lead"))
    body = element("body", header, element("main", *sections))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


@cache
def _style() -> str:
    return resources.files("maskwright.report").joinpath("page.css").read_text("utf-8")
