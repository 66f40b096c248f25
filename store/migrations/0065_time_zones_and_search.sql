-- Days and times of day are those of the theatre. A process of the version before writes UTC.
alter table theatres add column time_zone text not null default 'UTC';
comment on column theatres.time_zone is 'IANA name that PostgreSQL knows as well.';

create extension if not exists pg_trgm;
create extension if not exists unaccent;

-- Text as it is compared: without accents and in lower case. The names are written in full, because a restored backup
-- builds its indexes without a search path.
create function folded(text) returns text language sql immutable strict parallel safe
    as $$ select lower(public.unaccent('public.unaccent'::regdictionary, $1)) $$;
create function folded(text[]) returns text[] language sql immutable strict parallel safe
    as $$ select array(select public.folded(one) from unnest($1) as one) $$;
-- What finds all words of a text, the last ones perhaps not written to their end. Null without a word.
create function words_of(text) returns tsquery language sql immutable strict parallel safe
    as $$ select string_agg(quote_literal(word) || ':*', ' & ')::tsquery
          from regexp_split_to_table(public.folded($1), '[^[:alnum:]]+') as word where word <> '' $$;
-- Great circle between two places in degrees, in metres.
create function metres_between(double precision, double precision, double precision, double precision)
    returns double precision language sql immutable strict parallel safe
    as $$ select 2 * 6371008.8 * asin(least(1, sqrt(
              sin(radians($3 - $1) / 2) ^ 2
              + cos(radians($1)) * cos(radians($3)) * sin(radians($4 - $2) / 2) ^ 2))) $$;

create index movies_by_part_of_title on movies using gin (folded(title) gin_trgm_ops) where retired_at is null;
create index movies_by_word on movies using gin (to_tsvector('simple', folded(title || ' ' || description)))
    where retired_at is null;
create index movies_by_genre on movies using gin (folded(genres)) where retired_at is null;
