"""Known schemas: the migrations of a fingerprint, and each object's schema."""
