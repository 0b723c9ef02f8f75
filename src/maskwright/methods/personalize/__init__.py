"""One reference, and the object is found everywhere (PerSAM, PerSAM-F, P²SAM, on an HQ decoder)."""
