"""Uncertainty heads (UncertainSAM): training data, training, calibration, and what they are good for."""
