"""From records to response bodies by microversion. Pure functions."""
