"""Weighers: each gives every host that is left a number; normalised, multiplied and summed they are the order in which
hosts are taken. All are vectorised; names, multipliers and signs are Nova's.
"""
