"""Images, masks, files and weights: everything that touches the disk."""
