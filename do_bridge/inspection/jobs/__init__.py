"""Work on many databases that goes on when its page is left, or its process is killed."""
