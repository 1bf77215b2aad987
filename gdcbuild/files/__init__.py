"""Files of this machine: read, copied, remembered and recognised. No meaning of a build or a bucket."""
