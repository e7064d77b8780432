"""What the rooms' OpenAPI 3.1 documents have in common: shapes of JSON and pieces of paths. Pure values; what a room's
operations take and answer is the room's own."""
