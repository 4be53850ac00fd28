"""Collectors: one file each. They import expiryd.api and nothing else of this package."""
