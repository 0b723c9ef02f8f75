"""Region, boundary and calibration metrics."""
