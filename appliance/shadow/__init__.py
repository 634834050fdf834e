"""A candidate that judges the same parts beside the line, in a process of its own that goes last."""
