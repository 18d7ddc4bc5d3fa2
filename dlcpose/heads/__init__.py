"""One file for each kind of output: network, targets, loss and decoding."""
