// Times, keys and parts of pages that update themselves.
