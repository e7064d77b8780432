"""One noun a file: what the image API does when it is asked. Each handler takes a Call and returns a Response."""
