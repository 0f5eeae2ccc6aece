"""One file per kind of stage; the only files that seed, pick a device and read the clock."""
