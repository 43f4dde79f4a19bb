"""`moppet serve`: local pages, a queue of recordings and their results.

`connections` limits who may connect and for how long, `security` checks every request, `workspace`
holds the files, `job_queue` analyzes recordings one after another in a separate process, and `site`
builds the application.
"""
