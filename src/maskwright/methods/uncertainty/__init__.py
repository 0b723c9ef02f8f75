"""Which masks are wrong, and why: small heads on SAM's own tokens, their calibration and guarantees."""
