"""An application whose rows point at each other."""
