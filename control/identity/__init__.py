"""Who may ask: the built-in subset of Keystone v3, its tokens and the keys that sign them.

Decisions are made on watched copies; logins and writes read etcd itself. Nothing here knows of servers or images.
"""
