//! usher
