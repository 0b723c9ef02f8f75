"""Fine-tuning SAM and SAM-HQ, and training nano."""
