"""Local files: read, copy, remember and recognise them. Knows nothing of builds or bucket contents."""
