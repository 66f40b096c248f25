-- Ids of bookings are unique across shows: one index for both.
lock table partitions in exclusive mode;
alter table bookings drop constraint bookings_pkey,
    add constraint bookings_pkey primary key using index bookings_by_id;
