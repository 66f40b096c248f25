create table partition_sessions (
    show_id uuid not null,
    tier text not null,
    epoch bigint not null,
    owner text not null,
    began_at timestamptz not null default clock_timestamp(),
    primary key (show_id, tier, epoch),
    foreign key (show_id, tier) references partitions
);
comment on table partition_sessions is 'Who decided for a partition since when. An outcome of an epoch that is younger than the next session would show a broken fence.';
