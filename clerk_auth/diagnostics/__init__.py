"""What tells an operator whether the lock is locked, and what is wrong with one token."""
