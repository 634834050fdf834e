"""Engines that run a bundle's model; one file each."""
