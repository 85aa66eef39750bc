"""Our own cluster: two pure minds, and two hands that move bytes."""
