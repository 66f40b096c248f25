-- An order is made by a statement that locks its account as the key did, only not by a statement of its own for each
-- order. A deletion waits for that lock, and then looks for orders. Locks as in 0047.
create function accounts_with_orders_stay() returns trigger language plpgsql as $$
begin
    if exists (select from orders where account_id = old.account_id) then
        raise exception 'account % has orders', old.account_id
            using errcode = 'foreign_key_violation', constraint = 'orders_account_exists';
    end if;
    return old;
end $$;
lock table partitions in exclusive mode;
lock table accounts in access exclusive mode;
create trigger accounts_with_orders_stay before delete on accounts
    for each row execute function accounts_with_orders_stay();
alter table orders drop constraint orders_account_id_fkey;
