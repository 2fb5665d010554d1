"""Optional integrations; each module is importable only where its library is installed."""
