"""How many rows an import screen of django-import-export takes before the lease ends."""
