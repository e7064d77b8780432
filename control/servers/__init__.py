"""What the API does to servers, as functions over the stores: create, find, list, change, delete.

HTTP is the compute API's affair; this is the library below it.
"""
