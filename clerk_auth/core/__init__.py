"""Token verification in pure Python: no Django, no I/O, no clock."""
