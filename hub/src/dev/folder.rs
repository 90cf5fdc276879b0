//! `.warren/`: the lock, the space, the secrets.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::DevError;
use crate::config::Secret;

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// `.warren`.
    pub(super) home: PathBuf,
    /// `.warren/rabbitmq`: all of the node.
    pub(super) rabbitmq: PathBuf,
}

impl Layout {
    /// A file or folder of the node.
    pub(super) fn of_node(&self, name: &str) -> PathBuf {
        self.rabbitmq.join(name)
    }

    /// What the node and `epmd` print.
    pub(super) fn output(&self) -> PathBuf {
        self.of_node("log/output.log")
    }
}

/// A `.warren` folder that is ours while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    layout: Layout,
    // Held for its lock: the kernel lets go of it however this process ends.
    _lock: File,
}

/// RabbitMQ stops taking messages at 100 MiB (its own limit, in our rabbitmq.conf); a first start takes a few MiB.
const NEEDED_MIB: u64 = 200;

impl Folder {
    pub(super) fn open(folder: &Path) -> Result<Self, DevError> {
        let absolute = std::path::absolute(folder).map_err(|source| DevError::NotWritable { path: folder.to_owned(), source })?;
        if let Some(letter) = stumbling_block(&absolute) {
            return Err(DevError::OddPath { folder: absolute, letter });
        }
        let home = absolute.join(".warren");
        let layout = Layout { rabbitmq: home.join("rabbitmq"), home };
        make_folder(&layout.home)?;
        let lock_file = layout.home.join("lock");
        let lock = open_file(&lock_file, 0o600)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DevError::Locked { folder: absolute }),
            Err(TryLockError::Error(source)) => return Err(DevError::NotWritable { path: lock_file, source }),
        }
        for name in ["", "home", "data", "log", "generated", "conf.d"] {
            make_folder(&layout.of_node(name))?;
        }
        ensure_space(&layout.home, NEEDED_MIB)?;
        ensure_cookie(&layout.of_node("home/.erlang.cookie"))?;
        Ok(Self { layout, _lock: lock })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn token_secret(&self) -> Result<Secret, DevError> {
        let path = self.layout.home.join("token.secret");
        let failed = |source| DevError::NotWritable { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => {
                let secret = random_hex().map_err(failed)?;
                write_private(&path, secret.as_bytes(), 0o600)?;
                Ok(Secret::new(secret))
            }
        }
    }
}

/// What RabbitMQ cannot have in the path of its data; found by trying, with 3.10.
fn stumbling_block(path: &Path) -> Option<char> {
    let odd = |letter: &char| matches!(letter, '\'' | '"' | '`' | '$') || letter.is_control() || *letter > '\u{ff}';
    // Bytes that are no text become a replacement character, which is odd as well.
    path.to_string_lossy().chars().find(odd)
}

/// Makes a folder only we can enter, unless it is there.
fn make_folder(path: &Path) -> Result<(), DevError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DevError::NotWritable { path: path.to_owned(), source })
}

fn open_file(path: &Path, mode: u32) -> Result<File, DevError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(mode).open(path);
    opened.map_err(|source| DevError::NotWritable { path: path.to_owned(), source })
}

/// Writes a file in one step: a reader sees the old one or the new one, whole.
pub(super) fn write_private(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DevError> {
    let beside = path.with_added_extension("new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| DevError::NotWritable { path: path.to_owned(), source })
}

fn ensure_space(folder: &Path, needed_mib: u64) -> Result<(), DevError> {
    // What cannot be asked is not held against the folder: a full disk shows itself soon enough.
    let Ok(disk) = nix::sys::statvfs::statvfs(folder) else { return Ok(()) };
    // Their widths differ between Linux and macOS.
    #[allow(clippy::unnecessary_cast)]
    let free_mib = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64) >> 20;
    if free_mib < needed_mib {
        return Err(DevError::NoSpace { folder: folder.to_owned(), free_mib, needed_mib });
    }
    Ok(())
}

fn ensure_cookie(path: &Path) -> Result<(), DevError> {
    let wrong = |what| DevError::Cookie { path: path.to_owned(), what };
    if !path.exists() {
        let cookie = random_hex().map_err(|source| DevError::NotWritable { path: path.to_owned(), source })?;
        write_private(path, cookie.as_bytes(), 0o400)?;
    }
    let text = fs::read(path).map_err(|_| wrong("cannot be read"))?;
    let mode = fs::metadata(path).map_err(|_| wrong("cannot be read"))?.permissions().mode();
    if text.trim_ascii().is_empty() {
        return Err(wrong("is empty"));
    }
    if mode & 0o077 != 0 {
        return Err(wrong("can be read by others, which Erlang refuses"));
    }
    Ok(())
}

/// 32 bytes from the system, in hex.
fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path()).unwrap();
        let second = Folder::open(folder.path()).expect_err("is locked").to_string();
        assert!(second.starts_with("another `warren dev` runs in "), "{second}");
        drop(first);
        Folder::open(folder.path()).unwrap();
    }

    #[test]
    fn secrets_are_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let secret = || Folder::open(folder.path()).unwrap().token_secret().unwrap();
        assert_eq!(secret(), secret());
        assert_eq!(secret().expose().len(), 64);
        let mode = |name: &str| fs::metadata(folder.path().join(".warren").join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("token.secret"), mode("rabbitmq/home/.erlang.cookie"), mode("")), (0o600, 0o400, 0o700));
    }

    #[test]
    fn a_bad_cookie_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        drop(Folder::open(folder.path()).unwrap());
        let cookie = folder.path().join(".warren/rabbitmq/home/.erlang.cookie");
        fs::set_permissions(&cookie, Permissions::from_mode(0o644)).unwrap();
        let open = Folder::open(folder.path()).expect_err("others can read it").to_string();
        assert!(open.contains("can be read by others") && open.contains("delete the file"), "{open}");
        write_private(&cookie, b"\n", 0o400).unwrap();
        let empty = Folder::open(folder.path()).expect_err("it is empty").to_string();
        assert!(empty.contains("is empty: delete the file"), "{empty}");
    }

    #[test]
    fn too_little_space_is_told_with_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        ensure_space(folder.path(), 0).unwrap();
        let error = ensure_space(folder.path(), u64::MAX).expect_err("no disk is that big").to_string();
        assert!(error.starts_with("only ") && error.ends_with("MiB or run `warren dev` on another disk"), "{error}");
    }

    #[test]
    fn a_path_that_rabbitmq_cannot_read_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["it's", "a\"b", "a`b", "$HOME", "snow \u{2603}"] {
            let odd = folder.path().join(name);
            let error = Folder::open(&odd).expect_err(name).to_string();
            assert!(error.starts_with("RabbitMQ cannot run in ") && error.ends_with("another folder with --folder"), "{error}");
            assert!(!odd.exists());
        }
        Folder::open(&folder.path().join("a folder & \u{fc}mlauts (1)")).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".warren"), "in the way").unwrap();
        let error = Folder::open(folder.path()).expect_err("is a file").to_string();
        assert!(error.starts_with("cannot write ") && error.ends_with("in a folder you own"), "{error}");
    }
}
