"""A cell's conductor: commands to agents, their reports, the cell's records. Knows nothing above its cell."""
