"""SUM: interactive fine-tuning on human masks and on machine-made ones with uncertainty maps."""
