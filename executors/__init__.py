"""Placeholder written by the gate helper so that the editable install finds the package; the founder replaces it."""
