"""Model families, loading and the segmenter."""
