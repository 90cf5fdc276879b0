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
/// May register devices, change them, remove them and revoke them.
pub const DEVICES_WRITE: &str = "devices:write";
/// May read the devices of its tenant.
pub const DEVICES_READ: &str = "devices:read";
/// May send messages to devices of its tenant, and withdraw them.
pub const MESSAGES_SEND: &str = "messages:send";
/// May send messages to all devices of its tenant at once.
pub const MESSAGES_BROADCAST: &str = "messages:broadcast";
/// May read what became of the messages of its tenant.
pub const MESSAGES_READ: &str = "messages:read";
/// Is a device: the one that `sub` names, and may act as that one alone.
pub const DEVICE: &str = "device";
