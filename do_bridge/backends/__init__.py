"""Database engines for Cloudflare's D1 and Durable Objects, on one SQL dialect."""
