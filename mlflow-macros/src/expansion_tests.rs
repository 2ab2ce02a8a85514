//! Snapshots of formatted expansions, one for each shape.
