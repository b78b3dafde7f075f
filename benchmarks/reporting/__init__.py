"""How fast and how small reports are, on runs that are made up."""
