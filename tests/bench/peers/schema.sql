-- The one table every peer keeps its jobs in.
create table jobs (
    id         uuid primary key,
    kind       text not null,
    payload    jsonb not null,
    state      text not null default 'accepted',
    created_at timestamptz not null default now()
);
