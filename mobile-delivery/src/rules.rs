//! What the store decides, as functions of what it has read.
