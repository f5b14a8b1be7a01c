"""Every exit code of the command `twolayernet`; a signal that ends it gives 128 and the signal's number."""

DONE = 0
WORSE = 1
"""gradcheck: an error above the tolerance. publish: worse than what is served. Nothing was changed."""
DIVERGED = 1
"""train: it learnt nothing, or what is not finite; the weights file was left as it was."""
MISTAKE = 2
"""In an option, a setting, a file or an address; or what it needs can't be had. One line says what."""
NO_START = 4
"""The store, the weights or the address can't be served. gunicorn takes it as the sign to not try again."""
AWAY = 5
"""The store's database can't be reached. Another try may succeed, without a change to any setting."""
CRASHED = 70
"""An error in the program itself, with its traceback."""
INTERRUPTED = 130
"""128 + SIGINT: Ctrl-C. Training keeps what there is."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: whoever read the output stopped reading."""
