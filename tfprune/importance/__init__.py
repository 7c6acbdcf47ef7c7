"""What weights are worth: scores of single weights, and the gradients that some of them look at."""
