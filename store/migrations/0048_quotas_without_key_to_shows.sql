-- As in 0047.
lock table partitions in exclusive mode;
lock table shows in access exclusive mode;
alter table account_quotas drop constraint account_quotas_show_id_fkey;
