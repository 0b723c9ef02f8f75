"""Masks of everything in an image, without prompts: SAM's automatic mask generator."""
