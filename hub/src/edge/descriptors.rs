//! File descriptors: every connection is one, and most systems start a process with 1024 while it may have far more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the store, the broker and the log need beside connections, amply.
const OTHERS: u64 = 128;

/// What a process of this user may open when it asks for all it may have; `None` where that is unknown.
pub(crate) fn most_files() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, most)| most)
}

/// What a process opens that takes so many connections on its public listener.
pub(crate) fn files_for(connections: u32) -> u64 {
    u64::from(connections) + 2 * super::INNER_CONNECTIONS as u64 + OTHERS
}

/// Raises what this process may open, as far as it may, so that so many connections of the public listener fit. Says so in the log when they do not.
pub(crate) fn make_room(connections: u32) {
    let wanted = files_for(connections);
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
