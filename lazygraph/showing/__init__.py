"""Floor 4, showing: what a graph looks like, in words (`explain`) and drawn (`picture`, `layout`, `draw`, `dot`).

Everything here takes plain values (names, numbers, indices) and returns text; nothing here runs anything.
"""
