"""Writing labels in the formats of other tools."""
