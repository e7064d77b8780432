"""Schemathesis against a live site: each operation of the served OpenAPI documents, as an admin, a member and a reader,
at the lowest and the highest microversion. `python -m tests.fuzz --help`, or `just fuzz`."""
