"""A demo Django project: a small API behind Clerk, and the ``demo`` that proves it."""
