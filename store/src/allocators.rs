//! allocators
