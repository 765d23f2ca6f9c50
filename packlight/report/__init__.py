"""The proof that comes with the files: for a terminal, and as one page to keep."""
