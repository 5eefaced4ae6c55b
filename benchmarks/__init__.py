"""What is measured, and how: with threads that sleep while they wait, as the service and the commands have them."""

import os

from lucid.settings import THREADS_THAT_SLEEP

os.environ.update(THREADS_THAT_SLEEP | os.environ)  # before numpy and torch are loaded
