"""Where a request for resources could be placed: `GET /allocation_candidates` as pure functions over the forest.

`answer` is the door. What providers serve alone is found vectorised (`alone`); all else is searched tree by tree, as
lazily as the limit allows (`search`, over each group's `options`). `render` writes JSON.
"""
