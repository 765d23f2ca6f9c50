"""Slow, obvious versions that the fast ones must match."""
