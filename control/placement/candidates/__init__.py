"""Where a request for resources could be placed: `GET /allocation_candidates` as pure functions over the forest.

`answer` is the door. A request that each provider can only serve alone takes the vectorised `alone`; all others are
searched tree by tree, as lazily as `limit` allows, by `search` over each group's `options`. `render` writes JSON.
"""
