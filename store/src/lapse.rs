//! lapse
