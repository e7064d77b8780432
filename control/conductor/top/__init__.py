"""The super conductor: builds, what cells tell the top, hosts becoming providers. Owns shards of the global store."""
