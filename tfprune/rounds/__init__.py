"""The loop: score, prune, fine-tune, evaluate, record, until the target is met or a gate fails for good."""
