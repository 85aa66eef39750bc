"""What is kept in files: results under content keys."""
