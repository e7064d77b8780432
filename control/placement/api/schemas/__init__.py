"""JSON Schemas of bodies and queries, one noun a file, as functions of the microversion."""
