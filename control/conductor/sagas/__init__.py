"""One saga a file: a table of steps with their undo, and what a server is when they have succeeded or failed. Pure."""
