"""Training of expression networks: recipes, networks, callbacks, export."""
