"""`quietdial compare`: which run keeps the cap, and what does it cost?

`reading` reads the result files of run folders, `groups` computes, `words` says it, `pictures`
draws it, `page` writes Markdown and HTML, `boards` writes aggregate runs for TensorBoard.
"""
