"""Floor 0: what everything else is made of.  Standard library only."""
