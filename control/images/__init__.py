"""The built-in subset of Glance v2: metadata and digests in etcd, bytes in the bus's object store.

An image is active only after its bytes were read back; images of one digest share them. Agents fetch bytes by grants.
"""
