//! What a token may allow: every scope there is.

/// May submit jobs.
pub const JOBS_SUBMIT: &str = "jobs:submit";
/// May read the jobs it submitted.
pub const JOBS_READ: &str = "jobs:read";
/// May read all jobs of its tenant.
pub const JOBS_READ_ALL: &str = "jobs:read:all";
/// May cancel the jobs it submitted; with [`JOBS_READ_ALL`] all jobs of its tenant.
pub const JOBS_CANCEL: &str = "jobs:cancel";
/// May use the admin API.
pub const JOBS_ADMIN: &str = "jobs:admin";
