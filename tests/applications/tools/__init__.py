"""Other people's tools on this package's databases: backups, S3 storages, libSQL's clients."""
