"""JSON Schemas of request bodies and query strings, by microversion. Pure values."""
