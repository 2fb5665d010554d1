"""Optional integrations; a module that needs a library is importable only where it is installed."""
