"""Seed 3's study: what balancing and made faces are worth to classifiers of scarce, lopsided faces.

`plan` reads what is to be compared, `bench` holds the images and makes a cell, `prepare` makes a
fold's training rows ready, `run` runs the cells and `summary` and `page` sum them up.
"""
