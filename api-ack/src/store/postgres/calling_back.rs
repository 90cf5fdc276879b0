//! The trait about callbacks, one statement or transaction each.

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresStore, callbacks};
use crate::store::{
    Callback, CallbackFilter, CallbackStore, Claimed, Deed, FoundCallbacks, Micros, Recalled, Settled, Stop, StoreError,
};

#[async_trait]
impl CallbackStore for PostgresStore {
    async fn owe(&self, now: Micros, limit: u32) -> Result<u64, StoreError> {
        ask!(self, conn => callbacks::owe(conn, now, limit))
    }

    async fn owed_hosts(&self, after: &str, limit: u32) -> Result<Vec<(String, Micros)>, StoreError> {
        ask!(self, conn => callbacks::hosts(conn, after, limit))
    }

    async fn claim_callbacks(&self, host: &str, now: Micros, until: Micros, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        ask!(self, conn => callbacks::claim(conn, host, now, until, limit))
    }

    async fn settle(&self, settled: &Settled) -> Result<bool, StoreError> {
        ask!(self, conn => callbacks::settle(conn, settled))
    }

    async fn callback(&self, job: Uuid) -> Result<Option<Callback>, StoreError> {
        ask!(self, conn => callbacks::one(conn, job))
    }

    async fn callbacks(&self, filter: &CallbackFilter) -> Result<FoundCallbacks, StoreError> {
        ask!(self, conn => callbacks::search(conn, filter))
    }

    async fn count_owed(&self, limit: u32) -> Result<u64, StoreError> {
        ask!(self, conn => callbacks::count(conn, limit))
    }

    async fn recall(&self, job: Uuid, deed: &Deed) -> Result<Recalled, StoreError> {
        ask!(self, conn => callbacks::recall(conn, job, deed))
    }

    async fn stops(&self, tenant: Option<&str>, after: (&str, &str), limit: u32) -> Result<Vec<Stop>, StoreError> {
        ask!(self, conn => callbacks::stops(conn, tenant, after, limit))
    }

    async fn unstop(&self, tenant: &str, url: &str, deed: &Deed) -> Result<bool, StoreError> {
        ask!(self, conn => callbacks::unstop(conn, tenant, url, deed))
    }

    async fn deeds(&self, job: Uuid) -> Result<Vec<Deed>, StoreError> {
        ask!(self, conn => callbacks::deeds(conn, job))
    }
}
