"""Bulk labelling: one worker over many photos, on this machine or many, that survives any interruption."""
