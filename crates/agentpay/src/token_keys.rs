//! The keys that sign payment tokens: `token.keys` in the data directory, beside the id key and as private.
//!
//! Unlike the id key they are rotated. A new key is written durably before it signs anything, and begins to sign a while
//! after it was published, so that nobody who keeps the published set for some minutes meets an unknown key. Old keys
//! stay: they prove tokens that are still alive and sign again what is answered again.
//!
//! The file is text: `agentpay-token-keys-1`, a line `<unix seconds from which it signs> <64 hexadecimal digits>` per
//! key, oldest first, and the first 16 digits of the BLAKE3 hash of everything above. Who owns the directory may write
//! it; readers take no lock, because it is only ever replaced as a whole.

use crate::config::Config;
use crate::data_dir::{DataDir, replace_private_file};
use crate::exit::{Exit, Failure};
use crate::id_key::check_digits;
use crate::system::{random_bytes, unix_seconds};
use api::{TOKEN_LIFETIME_MAX_SECONDS, TokenKey, TokenKeys};
use std::io::ErrorKind;
use std::path::Path;

const MAGIC: &str = "agentpay-token-keys-1";
/// Keys in one file. A rotation a day for years fits, and a broken script that rotates without end is stopped.
const KEYS_MAX: usize = 4_096;
/// Least time between writing a key and its first signature: a disk's bad moment must fit in.
pub(crate) const ACTIVE_IN_SECONDS_MIN: u64 = 5;

/// The keys of the node that owns `dir`; made when there are none. The flag says whether they were made now.
pub(crate) fn load_or_create(dir: &DataDir) -> Result<(Vec<TokenKey>, bool), Failure> {
    let path = dir.token_keys();
    if let Some(keys) = read(&path)? {
        return Ok((keys, false));
    }
    let keys = vec![TokenKey { active_from_seconds: unix_seconds(), seed: random_bytes() }];
    replace_private_file(&path, &render(&keys), || Ok(()))?;
    Ok((keys, true))
}

/// The keys of a data directory that was used by a node before.
pub(crate) fn load(dir: &DataDir) -> Result<Vec<TokenKey>, Failure> {
    let path = dir.token_keys();
    read(&path)?.ok_or_else(|| {
        let message = format!("{} is missing; `agentpay serve` makes it at its first start", path.display());
        Failure::new(Exit::Failure, message)
    })
}

/// How a rotation is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Seconds from now until the new key signs.
    pub active_in_seconds: u64,
    /// Keys that have been out of use for longer are dropped.
    pub kept_seconds: u64,
}

impl Rotation {
    pub(crate) fn new(config: &Config, active_in_seconds: u64) -> Rotation {
        // An answer is given again for twice the retention at most, then its token's key is needed by nobody.
        let retention = config.ledger.idempotency_retention_seconds.saturating_mul(2);
        let kept_seconds = retention.saturating_add(TOKEN_LIFETIME_MAX_SECONDS.unsigned_abs());
        Rotation { active_in_seconds, kept_seconds }
    }
}

/// Adds a key durably. The caller owns the directory.
///
/// # Errors
/// The key before this one has not begun to sign, or the file cannot be written. Then nothing has changed.
pub(crate) fn rotate(dir: &DataDir, rotation: Rotation) -> Result<Vec<TokenKey>, Failure> {
    let mut keys = load(dir)?;
    let now = unix_seconds();
    let newest = keys.last().expect("a file has at least one key").active_from_seconds;
    if newest > now {
        let message =
            format!("a new key is waiting already and signs in {} s; rotate again after that", newest - now);
        return Err(Failure::new(Exit::Failure, message));
    }
    drop_unneeded(&mut keys, now, rotation.kept_seconds);
    if keys.len() >= KEYS_MAX {
        let message = format!("there are {KEYS_MAX} keys that may still be needed; rotate less often");
        return Err(Failure::new(Exit::Failure, message));
    }
    let active_from_seconds =
        now.saturating_add_unsigned(rotation.active_in_seconds.max(ACTIVE_IN_SECONDS_MIN));
    keys.push(TokenKey { active_from_seconds, seed: random_bytes() });
    replace_private_file(&dir.token_keys(), &render(&keys), || in_time(active_from_seconds))?;
    Ok(keys)
}

/// A key must not sign before it is durable: what it signed could not be verified after a crash.
fn in_time(active_from_seconds: i64) -> Result<(), Failure> {
    if unix_seconds().saturating_add(2) <= active_from_seconds {
        return Ok(());
    }
    let message = "writing the new key took longer than it was to wait; nothing was changed, try again";
    Err(Failure::new(Exit::Failure, message))
}

/// Drops keys that have been out of use for longer than `kept_seconds`.
fn drop_unneeded(keys: &mut Vec<TokenKey>, now: i64, kept_seconds: u64) {
    let unneeded = keys
        .windows(2)
        .take_while(|pair| pair[1].active_from_seconds.saturating_add_unsigned(kept_seconds) < now)
        .count();
    keys.drain(..unneeded);
}

/// The keys ready for the front end.
pub(crate) fn ready(keys: &[TokenKey]) -> TokenKeys {
    TokenKeys::new(keys).expect("a file of keys was checked when it was read or written")
}

fn read(path: &Path) -> Result<Option<Vec<TokenKey>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::because(format!("cannot read {}", path.display()), &error)),
    }
}

fn render(keys: &[TokenKey]) -> String {
    let mut text = format!("{MAGIC}\n");
    for key in keys {
        let digits: String = key.seed.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{} {digits}\n", key.active_from_seconds));
    }
    let check = check_digits(&text);
    text + &check + "\n"
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<TokenKey>, Failure> {
    let damaged = |what: &str| {
        let message = format!(
            "{} is damaged ({what}); restore it from a backup of this data directory",
            path.display()
        );
        Failure::new(Exit::TokenKeys, message)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let lines = text.strip_suffix('\n').ok_or_else(|| damaged("cut off"))?;
    let (above, check) = lines.rsplit_once('\n').ok_or_else(|| damaged("cut off"))?;
    if check != check_digits(&text[..above.len() + 1]) {
        return Err(damaged("its check digits do not fit"));
    }
    let mut lines = above.lines();
    if lines.next() != Some(MAGIC) {
        return Err(damaged("unknown version"));
    }
    let keys: Option<Vec<TokenKey>> = lines.map(key).collect();
    let keys = keys.ok_or_else(|| damaged("a line is not a key"))?;
    match TokenKeys::new(&keys) {
        Ok(_) => Ok(keys),
        Err(error) => Err(damaged(&error.to_string())),
    }
}

fn key(line: &str) -> Option<TokenKey> {
    let (seconds, digits) = line.split_once(' ')?;
    let active_from_seconds = seconds.parse().ok()?;
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut seed = [0; 32];
    for (byte, pair) in seed.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(TokenKey { active_from_seconds, seed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let root = temp.path().join("data").to_str().expect("UTF-8").to_owned();
        let owned = DataDir::own(&root).expect("owned");
        (temp, owned.dir.clone())
    }

    fn ids(keys: &[TokenKey]) -> Vec<String> {
        keys.iter().map(TokenKey::id).collect()
    }

    const SOON: Rotation = Rotation { active_in_seconds: 300, kept_seconds: 1_000 };

    /// As if the newest key had begun to sign `seconds` ago.
    fn age(dir: &DataDir, seconds: i64) {
        let mut keys = load(dir).expect("readable");
        let now = unix_seconds();
        let newest = keys.last().expect("a key").active_from_seconds;
        keys.iter_mut().for_each(|key| key.active_from_seconds -= newest - now + seconds);
        replace_private_file(&dir.token_keys(), &render(&keys), || Ok(())).expect("written");
    }

    #[test]
    fn made_once_private_and_readable_again() {
        let (_temp, dir) = own();
        assert_eq!(load(&dir).expect_err("none yet").exit, Exit::Failure);
        let (keys, is_new) = load_or_create(&dir).expect("made");
        assert!(is_new && keys.len() == 1);
        let mode = std::fs::metadata(dir.token_keys()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (again, is_new) = load_or_create(&dir).expect("readable");
        assert!(!is_new);
        assert_eq!(ids(&again), ids(&keys));
    }

    #[test]
    fn the_file_does_not_change_between_versions() {
        let keys = [
            TokenKey { active_from_seconds: 1_778_241_600, seed: [0xab; 32] },
            TokenKey { active_from_seconds: 1_778_245_200, seed: [0x01; 32] },
        ];
        let text = render(&keys);
        let expected = format!(
            "agentpay-token-keys-1\n1778241600 {}\n1778245200 {}\n",
            "ab".repeat(32),
            "01".repeat(32)
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(text[expected.len()..].trim_end(), check_digits(&expected));
        let read = parse(Path::new("token.keys"), text.as_bytes()).expect("its own text");
        assert_eq!(ids(&read), ids(&keys));
        assert_eq!(read[1].active_from_seconds, 1_778_245_200);
    }

    #[test]
    fn a_rotation_adds_a_key_that_signs_later() {
        let (_temp, dir) = own();
        let (first, _) = load_or_create(&dir).expect("made");
        let keys = rotate(&dir, SOON).expect("rotated");
        assert_eq!(ids(&keys[..1]), ids(&first));
        assert!(keys[1].active_from_seconds >= unix_seconds() + 290);
        assert_eq!(ids(&load(&dir).expect("durable")), ids(&keys));
        let waiting = rotate(&dir, SOON).expect_err("one is waiting");
        assert!(waiting.message.contains("is waiting already"), "{}", waiting.message);
        age(&dir, 1);
        assert_eq!(rotate(&dir, SOON).expect("rotated").len(), 3);
    }

    #[test]
    fn keys_that_nobody_needs_are_dropped() {
        let (_temp, dir) = own();
        load_or_create(&dir).expect("made");
        rotate(&dir, SOON).expect("rotated");
        age(&dir, 999);
        assert_eq!(rotate(&dir, SOON).expect("rotated").len(), 3, "the first may still be needed");
        age(&dir, 1_002);
        let keys = rotate(&dir, SOON).expect("rotated");
        assert_eq!(keys.len(), 2, "the one that signed last is kept however old it is");
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (_temp, dir) = own();
        load_or_create(&dir).expect("made");
        rotate(&dir, SOON).expect("rotated");
        let path = dir.token_keys();
        let good = std::fs::read(&path).expect("readable");
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x04;
            std::fs::write(&path, &bad).expect("written");
            assert_eq!(load_or_create(&dir).expect_err("damaged").exit, Exit::TokenKeys, "byte {index}");
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).expect("written");
            assert_eq!(load(&dir).expect_err("damaged").exit, Exit::TokenKeys, "cut to {length} bytes");
        }
        std::fs::write(&path, &good).expect("written");
        assert_eq!(load(&dir).expect("whole again").len(), 2);
    }

    #[test]
    fn a_key_that_is_written_too_late_is_not_used() {
        assert!(in_time(unix_seconds() + 60).is_ok());
        assert!(in_time(unix_seconds()).expect_err("too late").message.contains("nothing was changed"));
    }
}
