//! What a node does in the background.

pub(crate) mod tend;
pub(crate) mod presence;
pub(crate) mod follow;
pub(crate) mod load;
pub(crate) mod memory;
