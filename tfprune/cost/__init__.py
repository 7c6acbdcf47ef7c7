"""Cost: what a model weighs, layer by layer, in weights, multiply-accumulates and bytes."""
