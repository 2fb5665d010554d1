"""An upload: the body that brings a CSV file, and the table that is read from it."""
