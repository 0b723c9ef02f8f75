"""Colours that people with colour-blindness can tell apart, on any photo.

Source: M. Okabe and K. Ito, "Color Universal Design" (2008); black is left out, because it vanishes on
dark photos, and the order is ours: sky blue first, which is rare inside objects.
"""

from __future__ import annotations

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
SKY_BLUE: Colour = (86, 180, 233)
ORANGE: Colour = (230, 159, 0)
PURPLE: Colour = (204, 121, 167)
GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
VERMILION: Colour = (213, 94, 0)
BLUE: Colour = (0, 114, 178)

OKABE_ITO: tuple[Colour, ...] = (SKY_BLUE, ORANGE, PURPLE, GREEN, YELLOW, VERMILION, BLUE)

_SHADES = ((None, 0.0), (WHITE, 0.4), (BLACK, 0.35))


def colour(index: int) -> Colour:
    """The colour of mask number `index`: seven hues, then the same lighter, then darker, then again."""
    base = OKABE_ITO[index % len(OKABE_ITO)]
    towards, share = _SHADES[index // len(OKABE_ITO) % len(_SHADES)]
    return base if towards is None else _mix(base, towards, share)


def as_shares(colour: Colour) -> tuple[float, float, float]:
    """A colour as Matplotlib takes it, from 0 to 1."""
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue


def _mix(base: Colour, towards: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(base, towards, strict=True))
    return red, green, blue


def ink(background: Colour) -> Colour:
    """Black or white, whichever reads better on `background` (relative luminance of WCAG 2)."""

    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    luminance = sum(w * linear(v) for w, v in zip((0.2126, 0.7152, 0.0722), background, strict=True))
    # Contrast with black beats contrast with white above this luminance: (L + .05)² > 1.05 · .05.
    return BLACK if luminance > 0.179 else WHITE
