"""The server that owns backends: it accepts what comes over the bus, and carries it out.

`endpoint` reads requests, `intake` accepts them, `worker` carries them out, `server` starts and
drains it all.
"""
