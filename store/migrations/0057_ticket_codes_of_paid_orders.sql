-- no-transaction
create unique index concurrently if not exists orders_by_ticket_code
    on orders (show_id, ticket_code) where ticket_code is not null;
