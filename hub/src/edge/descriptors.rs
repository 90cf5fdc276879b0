//! File descriptors: every connection is one, and most systems start a process with 1024 while it may have far more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the store, the broker and the log need beside connections, amply.
const OTHERS: u64 = 128;

/// Raises what this process may open, as far as it may, so that `connections` fit. Says so in the log when they do not.
pub(crate) fn make_room(connections: u64) {
    let wanted = connections + OTHERS;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, most)| {
        let next = wanted.clamp(now, now.max(most));
        setrlimit(Resource::RLIMIT_NOFILE, next, most).map(|()| next)
    });
    match raised {
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            "the listeners may have more connections than this process may open files: raise its limit (`ulimit -Hn`, LimitNOFILE), \
             or lower listen.max_connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(error = %error, "the limit of open files is unknown"),
    }
}
