"""Django on Cloudflare D1 and on one Durable Object for each tenant."""
