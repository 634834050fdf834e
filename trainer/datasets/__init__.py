"""Data sets: what is read is checked, split by whole groups, and told."""
