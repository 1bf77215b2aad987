"""Pickles, wherever they are in an archive, and what unpickling them would import and call. Nothing is unpickled."""
