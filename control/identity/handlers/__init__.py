"""One noun a file: what the identity API does when it is asked. Each handler takes a Call and returns a Response."""
