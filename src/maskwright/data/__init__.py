"""Datasets, prompt samplers, transforms and checks."""
