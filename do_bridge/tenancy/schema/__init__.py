"""What is known about schemas: the migrations behind a fingerprint, and what a tenant's object holds."""
