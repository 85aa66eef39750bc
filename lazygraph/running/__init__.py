"""Floor 3: deciding what may run, and running it."""
