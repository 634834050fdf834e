"""An edge appliance for visual inspection: one verdict per part, in time, on record, from a proven model."""

__version__ = "0.1.0"
