"""The table of operations, a file a group; `control.compute.operations` is their sum."""
