"""Database engines for Django on Cloudflare: D1 and Durable Objects, on one SQL dialect."""
