-- Ids of orders are unique across shows, and `orders_one_per_booking` finds those of a show.
alter table orders drop constraint orders_pkey,
    add constraint orders_pkey primary key using index orders_by_id;
