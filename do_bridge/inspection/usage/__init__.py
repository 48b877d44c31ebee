"""How much each database is used: counted in memory, summed in D1 by hour."""
