"""Templates of the pages' sections, one a file; a package so that the digest of code covers them.

A section that a module fills with plain data alone needs no template of its own: its list of parts
is shown by `parts` of `macros.html.j2`, which says what a part holds.
"""
