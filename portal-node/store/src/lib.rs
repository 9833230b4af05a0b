//! The content store: append-only volumes, a rebuildable index, archives in place.
