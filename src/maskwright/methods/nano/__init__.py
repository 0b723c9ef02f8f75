"""Training nano, the small model in the package, from nothing on a few thousand photos."""
