"""`moppet serve`: a page on this machine alone, its queue of recordings and their results.

`gate` decides who may ask, `workspace` where files may lie, `queue` runs recordings one after
another in a process of their own, `site` answers.
"""
