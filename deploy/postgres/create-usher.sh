#!/bin/sh
# Runs once, when the database is created: Usher's role owns its database and is no superuser.
psql -qX -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" -U postgres <<'SQL'
create role usher login createdb password :'password';
create database usher owner usher;
SQL
