"""Find the pickles in an archive, and what unpickling them would import and call. Unpickles nothing."""
