"""Child processes that do what a builder or an engine may do to its process."""
