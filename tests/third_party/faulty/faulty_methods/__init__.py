"""Methods for bench that break its contract."""
