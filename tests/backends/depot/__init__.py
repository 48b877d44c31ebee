"""An application with every shape of relation that a fixture may have."""
