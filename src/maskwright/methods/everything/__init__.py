"""Every segment of an image, without prompts: from a map of boundary probabilities to a full partition."""
