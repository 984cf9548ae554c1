"""Report the outcomes of an upstream API's requests to it: the loop, the steps of a delivery, and HTTP."""
