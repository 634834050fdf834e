"""Procedurally generated pictures of surfaces with planted defects: what the shipped weights were taught with."""
