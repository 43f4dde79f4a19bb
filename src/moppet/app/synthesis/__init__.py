"""A run of `moppet synthesise`."""
