-- Where a session is used, so that its owner knows it again. A version that knows nothing of it leaves both empty.
alter table sessions
    -- of the last use: a /24 of IPv4 or a /48 of IPv6, never the whole address
    add column network text,
    -- as the browser or app calls itself, cut
    add column user_agent text;
