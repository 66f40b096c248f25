-- A process that dies or freezes must not keep rows locked. The application sets the same on
-- its connections; this covers whatever else connects to the database.
do $$
begin
    execute format('alter database %I set idle_in_transaction_session_timeout = %L',
        current_database(), '5s');
end $$;
