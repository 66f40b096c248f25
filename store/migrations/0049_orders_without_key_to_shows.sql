-- As in 0047.
lock table partitions in exclusive mode;
lock table shows in access exclusive mode;
alter table orders drop constraint orders_show_id_fkey;
