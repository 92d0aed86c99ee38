"""Graphs, plans and programs: the data every other folder works on."""
