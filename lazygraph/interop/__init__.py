"""Other libraries: their words, their graphs, their backends."""
