"""Bounded reads of files, their layout, links, companions and the roles of what they hold."""
