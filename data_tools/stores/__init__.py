"""What is done with stores that exist: look, check, split, join, convert."""
