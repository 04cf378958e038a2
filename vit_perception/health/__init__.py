"""What /diagnostics says: the report of a node, the board it runs on, and warnings told now and then."""
