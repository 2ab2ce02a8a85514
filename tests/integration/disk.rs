//! Disks that are full, read-only or gone.
