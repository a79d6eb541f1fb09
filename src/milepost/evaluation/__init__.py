"""The user's `Evaluation`: what it is made of, how it is checked, and how it is loaded.

Importing the room begins the record of what the user's code reads (`recorder`).
"""

from milepost.evaluation.recorder import RECORDER

RECORDER.install()
