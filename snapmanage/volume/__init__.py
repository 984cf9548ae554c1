"""The server that owns backends: it accepts the operations that arrive over the bus, and carries them out.

`endpoint` parses requests, `intake` accepts them, `worker` carries them out, and `server` starts and drains them.
"""
