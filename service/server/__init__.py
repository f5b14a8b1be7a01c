"""The HTTP servers, which are others' work: what they are told, and how they are started."""
