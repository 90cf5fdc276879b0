//! The stranger's own payloads: what makes its worker work, take its time, fail at first.

use std::path::Path;

use bytes::Bytes;

/// The largest payload Warren takes, in bytes.
const MOST: u64 = 8 << 20;

/// Payloads by what they do.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    /// One that works; `{}` unless it is given.
    pub(crate) normal: Bytes,
    /// One that takes some seconds.
    pub(crate) slow: Option<Bytes>,
    /// One during which progress is reported.
    pub(crate) progress: Option<Bytes>,
    /// One whose first attempt fails and whose second works.
    pub(crate) retry: Option<Bytes>,
    /// One whose result is over the limit.
    pub(crate) oversize: Option<Bytes>,
    /// JSON that is no job of this worker; a text unless it is given.
    pub(crate) poison: Bytes,
}

impl Default for Payloads {
    fn default() -> Self {
        Self {
            normal: Bytes::from_static(b"{}"),
            slow: None,
            progress: None,
            retry: None,
            oversize: None,
            poison: Bytes::from_static(b"\"this is no job\""),
        }
    }
}

impl Payloads {
    /// Reads what `--payload` says each time: `FILE`, or `NAME=FILE`.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub(crate) fn read(given: &[String]) -> Result<Self, String> {
        let mut payloads = Self::default();
        for text in given {
            let (name, file) = text.split_once('=').unwrap_or(("normal", text));
            let read = || bytes_of(Path::new(file));
            match name {
                "normal" => payloads.normal = read()?,
                "slow" => payloads.slow = Some(read()?),
                "progress" => payloads.progress = Some(read()?),
                "retry" => payloads.retry = Some(read()?),
                "oversize" => payloads.oversize = Some(read()?),
                "poison" => payloads.poison = read()?,
                _ => {
                    let known = "normal, slow, progress, retry, oversize, poison";
                    return Err(format!("--payload {text}: there is no payload `{name}`, write one of {known}"));
                }
            }
        }
        Ok(payloads)
    }
}

fn bytes_of(path: &Path) -> Result<Bytes, String> {
    let refused = |why: &dyn std::fmt::Display| format!("--payload {}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| refused(&error))?.len();
    if length > MOST {
        return Err(refused(&format!("it has {length} bytes, {MOST} at most are taken")));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(&error))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|error| refused(&format!("it is no JSON: {error}")))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_payload_is_a_file_and_may_have_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (one, slow, broken) = (file("1.json", "{\"a\":1}"), file("s.json", "[2]"), file("b.json", "{"));
        let read = Payloads::read(&[one, format!("slow={slow}")]).unwrap();
        assert_eq!((&read.normal[..], read.slow.as_deref()), (&b"{\"a\":1}"[..], Some(&b"[2]"[..])));
        assert!(read.retry.is_none());
        let why = |given: String| Payloads::read(&[given]).unwrap_err();
        assert!(why(format!("quick={slow}")).contains("no payload `quick`"));
        assert!(why(format!("slow={broken}")).contains("no JSON"));
        assert!(why("nowhere.json".to_owned()).contains("nowhere.json"));
    }
}
