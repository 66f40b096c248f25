-- When an allocator last wrote down how far its queues are behind: what did not change since is as old as that. Null
-- of a version that does not say so, whose heartbeat has to do.
alter table allocators add column recorded_at timestamptz;
