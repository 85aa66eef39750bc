"""Floor 1: what people write."""
