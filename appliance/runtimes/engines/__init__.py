"""Engines that TensorRT builds of a model for one accelerator: built and tried in child processes, kept, and run."""
