"""Recipes that train the Nano family: one shared loop, one short file an objective."""
