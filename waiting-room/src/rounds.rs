//! What a node does in the background: for each line, and for all of them.

mod join;
mod tend;
mod choosers;
mod presence;
mod missing;
mod find;
mod load;
mod follow;
mod connection;
mod memory;

use std::sync::Arc;

use crate::{
    line::{Line, desk::JoinQueue},
    room::Room,
};

/// Starts what a node does for all its lines.
pub(crate) fn start(room: &Arc<Room>) {
    let shutdown = &room.shutdown;
    shutdown.spawn_vital("line follower", follow::follow(Arc::clone(room)));
    shutdown.spawn_vital("line loader", load::keep_loaded(Arc::clone(room)));
    shutdown.spawn_vital("line finder", find::find_lines(Arc::clone(room)));
    shutdown.spawn(memory::watch(Arc::clone(room)));
}

/// Starts what a node does for one line that is new here: as many tasks as [`Room`] counts.
pub(crate) fn begin(room: &Arc<Room>, line: &Arc<Line>, queue: JoinQueue) {
    let shutdown = &room.shutdown;
    shutdown.spawn(tend::tend(Arc::clone(room), Arc::clone(line)));
    shutdown.spawn(presence::keep(Arc::clone(room), Arc::clone(line)));
    shutdown.spawn(join::serve(Arc::clone(room), Arc::clone(line), queue));
}
