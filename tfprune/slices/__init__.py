"""Who pays: accuracy of groups of examples, against the dense model."""
