CREATE TABLE products (
    sku  text PRIMARY KEY,
    name text NOT NULL DEFAULT ''
);

CREATE TABLE stock (
    sku       text   PRIMARY KEY REFERENCES products (sku),
    available bigint NOT NULL CHECK (available >= 0)
);

CREATE TABLE reservations (
    -- The last guard: one job reserves once, even when the inbox has forgotten it.
    job_id      text        PRIMARY KEY,
    order_id    text        NOT NULL,
    sku         text        NOT NULL REFERENCES products (sku),
    quantity    bigint      NOT NULL CHECK (quantity > 0),
    reserved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reservations_by_order ON reservations (order_id);
