"""The built-in transports, topologies and filters."""
