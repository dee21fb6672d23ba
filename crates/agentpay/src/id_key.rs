//! The id key: 32 bytes that seal record addresses into payment ids.
//!
//! Born once, together with the ledger, and never rotated: with another key every id that was ever handed out would
//! point nowhere. So it is created atomically and durably before the first record, refused when damaged, and its
//! absence beside an existing log stops the node instead of making a new one.
//!
//! The file is two lines of text: `agentpay-id-key-1 <64 hexadecimal digits>` and the first 16 digits of the BLAKE3
//! hash of the line above, so that a bad copy is noticed.

use crate::data_dir::{DataDir, replace_private_file};
use crate::exit::{Exit, Failure};
use crate::system::random_bytes;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// The key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct IdKey([u8; 32]);

impl IdKey {
    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(***)")
    }
}

const MAGIC: &str = "agentpay-id-key-1";

/// The key of the ledger in `dir`; a new ledger gets a new one. The flag says whether it was born now.
/// The caller owns the directory.
pub(crate) fn load_or_create(dir: &DataDir) -> Result<(IdKey, bool), Failure> {
    let path = dir.id_key();
    match std::fs::read(&path) {
        Ok(bytes) => Ok((parse(&path, &bytes)?, false)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if dir.has_ledger()? {
                return Err(Failure::new(
                    Exit::IdKey,
                    format!(
                        "{} is missing, but there is a ledger beside it; restore the file from a backup of this data \
                         directory: without it no payment id that was ever handed out can be read",
                        path.display()
                    ),
                ));
            }
            let key = generate();
            replace_private_file(&path, &render(&key), || Ok(()))?;
            Ok((key, true))
        }
        Err(error) => Err(Failure::because(format!("cannot read {}", path.display()), &error)),
    }
}

fn generate() -> IdKey {
    IdKey(random_bytes())
}

fn render(key: &IdKey) -> String {
    let mut line = format!("{MAGIC} ");
    for byte in key.0 {
        line.push_str(&format!("{byte:02x}"));
    }
    let check = check_digits(&line);
    format!("{line}\n{check}\n")
}

fn parse(path: &Path, bytes: &[u8]) -> Result<IdKey, Failure> {
    let damaged = |what: &str| {
        Failure::new(
            Exit::IdKey,
            format!(
                "{} is damaged ({what}); restore it from a backup of this data directory",
                path.display()
            ),
        )
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let mut lines = text.lines();
    let (Some(line), Some(check), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(damaged("two lines are expected"));
    };
    if check != check_digits(line) {
        return Err(damaged("its check digits do not fit"));
    }
    let digits = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
    let digits = digits.ok_or_else(|| damaged("unknown version"))?;
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(damaged("64 digits are expected"));
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| damaged("not hexadecimal"))?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| damaged("not hexadecimal"))?;
    }
    Ok(IdKey(key))
}

/// What makes a bad copy of `line` noticed.
pub(crate) fn check_digits(line: &str) -> String {
    blake3::hash(line.as_bytes()).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn born() -> (tempfile::TempDir, DataDir, IdKey) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let root = temp.path().join("data").to_str().expect("UTF-8").to_owned();
        let owned = DataDir::own(&root).expect("owned");
        (temp, owned.dir.clone(), owned.id_key.clone())
    }

    #[test]
    fn born_once_private_and_readable_again() {
        let (_temp, dir, key) = born();
        let mode = std::fs::metadata(dir.id_key()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_or_create(&dir).expect("readable"), (key.clone(), false));
        assert_eq!(format!("{key:?}"), "IdKey(***)");
    }

    #[test]
    fn a_ledger_without_its_key_is_refused() {
        let (_temp, dir, _) = born();
        std::fs::write(dir.log().join("anything"), b"x").expect("written");
        std::fs::remove_file(dir.id_key()).expect("removed");
        let refused = load_or_create(&dir).expect_err("must be refused");
        assert_eq!(refused.exit, Exit::IdKey);
        assert!(refused.message.contains("restore the file from a backup"), "{}", refused.message);
        assert!(!dir.id_key().exists(), "no new key may appear");
    }

    #[test]
    fn a_leftover_of_a_dead_start_is_replaced() {
        let (_temp, dir, _) = born();
        std::fs::remove_file(dir.id_key()).expect("removed");
        std::fs::write(dir.root().join("id.key.new"), b"half").expect("written");
        let (_, is_new) = load_or_create(&dir).expect("created");
        assert!(is_new);
        assert!(!dir.root().join("id.key.new").exists());
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (_temp, dir, key) = born();
        let good = std::fs::read(dir.id_key()).expect("readable");
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x04;
            let parsed = parse(&dir.id_key(), &bad);
            // The final line break carries no information.
            let harmless = index + 1 == good.len();
            assert!(harmless || parsed.is_err_and(|failure| failure.exit == Exit::IdKey), "byte {index}");
        }
        for length in 0..good.len() - 1 {
            assert!(parse(&dir.id_key(), &good[..length]).is_err(), "cut to {length} bytes");
        }
        assert_eq!(parse(&dir.id_key(), &good).expect("untouched"), key);
    }
}
