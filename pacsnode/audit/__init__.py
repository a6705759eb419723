"""The audit trail (PS3.15 A.5): who did what to whose images, told as it happens to a file, to a
syslog server, or to both.

events.py says what is told of what; message.py and line.py write it as XML and JSON; sender.py
brings it where it is kept without holding up whoever has something to tell.
"""

from pacsnode.audit.event import Event, Party, Study
from pacsnode.audit.tally import Tally
from pacsnode.audit.trail import Silent, Trail, Writing, check_trail, media_of, open_trail, user

__all__ = [
    "Event",
    "Party",
    "Silent",
    "Study",
    "Tally",
    "Trail",
    "Writing",
    "check_trail",
    "media_of",
    "open_trail",
    "user",
]
