"""Where trials run: the one real loop around the node, and the testbeds that start node processes."""
