"""Cells as the top sees them: their mappings, stores and buses."""
