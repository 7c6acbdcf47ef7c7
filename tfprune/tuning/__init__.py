"""Search for the best allocation of sparsity: proposals, trials and the engines that run them."""
