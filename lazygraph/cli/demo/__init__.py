"""The demo: lazygraph's main job on input every machine has, Python sources.

Read it in this order: `facts` (the values), `sources` (a file to facts), `report` (facts to a report), `workflow`
(the same functions as one graph), `plain` (the same functions in a loop), `run` and `show` (doing and telling).
"""
