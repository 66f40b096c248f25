-- An order is made by a statement that reads its booking, and bookings are never deleted.
lock table partitions in exclusive mode;
lock table bookings in access exclusive mode;
alter table orders drop constraint orders_show_id_booking_id_fkey;
