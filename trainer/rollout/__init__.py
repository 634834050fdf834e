"""A release reaches a fleet in rings; each ring's own reports open the next."""
