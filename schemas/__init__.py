"""Records, messages, subjects, settings and the error tree: the words that every room speaks.

Imports nothing of ours, does no I/O, reads no clock and rolls no dice.
"""
