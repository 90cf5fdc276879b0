#!/bin/sh
# The hub and each service have a user and a database of their own. The image runs this once, when its volume is empty.
set -eu

database() { # name of user and database, password
  psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname postgres --set name="$1" --set password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

database hub "$HUB_DB_PASSWORD"
database inventory "$INVENTORY_DB_PASSWORD"
