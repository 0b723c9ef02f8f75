"""Kinds of datasets of people, streets and special subjects."""

from __future__ import annotations

from maskwright.data.kind import Kind

MORE: dict[str, Kind] = {}
