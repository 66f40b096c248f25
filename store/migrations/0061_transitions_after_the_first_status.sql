-- Every order begins with one status, so a row and an index entry for it said nothing new. What they also did, to keep an
-- order from its first status later on, is a check now.
lock table partitions in exclusive mode;
drop trigger orders_record_first_status on orders;
drop function orders_record_first_status();
alter table order_transitions add constraint order_transitions_never_back
    check (from_status is null or to_status <> 'PAYMENT_PENDING') not valid;
comment on table order_transitions is 'Every change of the status of an order; no status is entered twice.';
