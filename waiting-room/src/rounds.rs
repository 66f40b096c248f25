//! The background work of a node: tasks for each line, and tasks for all lines together.

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
    room::WaitingRoom,
};

/// Starts the tasks that serve all lines of this node.
pub(crate) fn start(room: &Arc<WaitingRoom>) {
    let shutdown = &room.shutdown;
    shutdown.spawn_vital("line follower", follow::follow(Arc::clone(room)));
    shutdown.spawn_vital("line loader", load::keep_loaded(Arc::clone(room)));
    shutdown.spawn_vital("line finder", find::find_lines(Arc::clone(room)));
    shutdown.spawn(memory::watch(Arc::clone(room)));
}

/// Starts the tasks of one line that is new here; `TENDERS` in `room.rs` is their number.
pub(crate) fn begin(room: &Arc<WaitingRoom>, line: &Arc<Line>, queue: JoinQueue) {
    let shutdown = &room.shutdown;
    shutdown.spawn(tend::tend(Arc::clone(room), Arc::clone(line)));
    shutdown.spawn(presence::keep(Arc::clone(room), Arc::clone(line)));
    shutdown.spawn(join::serve(Arc::clone(room), Arc::clone(line), queue));
}
