"""The pure part: the tree node and its protocol. No sockets, clocks, threads, randomness or files are reachable from here."""
