"""An app of a project whose models refer to users; only some tests install it."""
