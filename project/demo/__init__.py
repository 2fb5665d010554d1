"""The parts of ``manage.py demo``: a stand-in Clerk, Redis and the API, and what is asked of it."""
