"""The table of operations as OpenAPI 3.1 documents, one for each microversion: what every answer looks like, examples
of bodies, and the document made of those and the table. Pure values; no request is judged by what lies here."""
