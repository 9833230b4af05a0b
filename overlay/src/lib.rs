//! How peers find data and move it: discv5, uTP streams and the sub-networks' services.
