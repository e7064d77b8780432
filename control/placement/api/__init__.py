"""The Placement REST API: one table of operations, their schemas, their handlers, and what stands around them.

Reads are answered from the watched view, changes go through the library's writes; nothing here decides what placement
means. The table is `table.py`.
"""
