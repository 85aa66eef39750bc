"""Floor 2: from promises to a plan."""
