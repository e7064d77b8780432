"""What every REST API of ours does in the same way. Nothing here knows a resource, a store or a bus."""
