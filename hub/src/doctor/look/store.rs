//! The store: the database, and the disk that a file of it is on.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use database::Inspection;
use nix::sys::statvfs::statvfs;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::{self, Secret};
use crate::doctor::snapshot::{Place, Store};
use crate::hub::TABLES;

/// For all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// On a thread of its own, which nobody waits for at the end: a file system that is away holds whoever asks it.
pub(super) async fn look(store: &config::Store) -> Store {
    let (url, runtime) = (store.url.clone(), Handle::current());
    let (tell, told) = oneshot::channel();
    let begun = thread::Builder::new().spawn(move || drop(tell.send(runtime.block_on(inspect(&url)))));
    let (found, place) = match begun.map(|_| timeout(PATIENCE, told)) {
        Ok(told) => match told.await {
            Ok(Ok(seen)) => seen,
            _ => (Err(format!("it was not looked at within {PATIENCE:?}")), None),
        },
        Err(error) => (Err(error.to_string()), None),
    };
    Store { shown: store.shown(), found, place }
}

async fn inspect(url: &Secret) -> (Result<Inspection, String>, Option<Place>) {
    let found = database::inspect(url.expose(), &TABLES).await.map_err(|error| error.to_string());
    let path = found.as_ref().ok().and_then(|inspection| inspection.path.clone());
    (found, path.and_then(|path| place(&path)))
}

fn place(file: &Path) -> Option<Place> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    let folder = folder.canonicalize().ok()?;
    let disk = statvfs(&folder).ok()?;
    // Their width differs by system.
    #[allow(clippy::useless_conversion, reason = "it is 32 bits on some")]
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    Some(Place { network: network(&folder), free, folder })
}

/// The network file system that `folder` is on.
#[cfg(target_os = "linux")]
fn network(folder: &Path) -> Option<&'static str> {
    const NETWORK: [(u32, &str); 6] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB 2"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
    ];
    let kind = nix::sys::statfs::statfs(folder).ok()?.filesystem_type().0;
    // Magic numbers have 32 bits; where they are signed the upper half repeats the sign.
    NETWORK.iter().find(|(magic, _)| i64::from(*magic) == (kind as i64 & 0xffff_ffff)).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network(_folder: &Path) -> Option<&'static str> {
    None
}
