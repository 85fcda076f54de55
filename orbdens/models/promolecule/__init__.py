"""Free atoms laid over each other: the zero line of every comparison."""
