"""Mask losses."""
