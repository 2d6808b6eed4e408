"""What stands between a request and the parts: the grammar of the protocol's parameters."""
