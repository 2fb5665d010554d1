"""Clerk session tokens as Django REST framework authentication."""

__version__ = "0.1.0"
