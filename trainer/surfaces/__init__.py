"""Procedurally generated pictures of surfaces with planted defects: what the shipped weights were taught with.

Its boards are shown among crops of binarised copper, too.
"""
