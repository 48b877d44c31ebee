"""The ways to a database: the relay's WebSocket, and D1's REST API."""
