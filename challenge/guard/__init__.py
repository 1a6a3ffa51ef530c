"""A second, small process that sees to it that a run ends with a file.

The run tells it what it is making and when the last safe moment to pack comes. If nobody packs by
then (a batch that never ends, a hung driver, a stopped or killed process), the guard packs the
complete rounds of the journal itself, without a GPU and without post-augmentation.

    process.py   the guard itself: python -m challenge.guard
    handle.py    the run's end of the line

What they say to each other stands in challenge/watch.py.
"""
