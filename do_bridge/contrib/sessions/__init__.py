"""Sessions whose user is read together with them, in one statement."""
