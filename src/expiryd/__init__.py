"""Knows when everything you depend on stops working, and tells the right person once, in time."""

__version__ = "0.1.0"
