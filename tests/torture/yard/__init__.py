"""An app that is migrated back and forth: `SCHEMAS` says what stands at each of its migrations."""
