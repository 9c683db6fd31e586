//! Who is calling: user names and passwords of the web configuration.
//!
//! A bcrypt check costs tens of milliseconds of CPU by design, so successes are remembered and few
//! checks run at once. What is remembered is one digest per *configured* user, keyed with a secret
//! of this process: no caller chooses what it is filed under, and a guess cannot meet it.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::RwLock;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use tokio::sync::Semaphore;

/// bcrypt checks that run at once. More would let strangers take the machine's CPU.
const CHECKS_AT_ONCE: usize = 2;
/// bcrypt reads no more than this much of a password.
const PASSWORD_BYTES_MAX: usize = 72;
/// The cost of a stranger's check where no user is configured with a higher one.
const DUMMY_COST: u32 = 10;

/// Checks credentials against the configured users. Cloning shares everything.
#[derive(Clone)]
pub struct Users {
    state: Arc<State>,
}

struct State {
    users: RwLock<Arc<UserTable>>,
    key: hmac::Key,
    checks: Semaphore,
}

/// The users of one version of the web configuration.
#[derive(Default)]
struct UserTable {
    hashes: HashMap<String, String>,
    /// What unknown users' passwords are compared with, so that they take as long.
    dummy: String,
    /// The digest of the password that last succeeded.
    succeeded: RwLock<HashMap<String, hmac::Tag>>,
}

/// What a request says about its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// It carries no credentials.
    Anonymous,
    /// It carries those of a configured user.
    User,
    /// It carries wrong ones.
    Refused,
}

impl Users {
    /// A table without users.
    pub fn new() -> Self {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).expect("the system has a source of randomness");
        let state = State {
            users: RwLock::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            checks: Semaphore::new(CHECKS_AT_ONCE),
        };
        Self { state: Arc::new(state) }
    }

    /// Replaces the users with `hashes` (name to bcrypt hash) and forgets all successes.
    pub fn replace(&self, hashes: HashMap<String, String>) {
        let dummy = dummy_hash(&hashes);
        let table = UserTable { hashes, dummy, succeeded: RwLock::default() };
        *self.state.users.write() = Arc::new(table);
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.state.users.read().hashes.is_empty()
    }

    /// Finds out who sent `headers`. Takes a bcrypt check where the answer isn't remembered.
    pub async fn caller(&self, headers: &HeaderMap) -> Caller {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Caller::Anonymous;
        };
        let Some((name, password)) = basic_credentials(header.as_bytes()) else {
            return Caller::Refused;
        };
        if self.check(name, password).await { Caller::User } else { Caller::Refused }
    }

    /// The user that a request carries the credentials of, once it was admitted: they are not
    /// checked here.
    pub fn named_by(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        if self.is_empty() {
            return None;
        }
        let (name, _) = basic_credentials(headers.get(AUTHORIZATION)?.as_bytes())?;
        Some(Arc::from(name))
    }

    async fn check(&self, name: String, password: Vec<u8>) -> bool {
        let users = Arc::clone(&self.state.users.read());
        if users.hashes.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        let remembered = users.succeeded.read().get(&name).copied();
        if remembered
            .is_some_and(|tag| hmac::verify(&self.state.key, &password, tag.as_ref()).is_ok())
        {
            return true;
        }
        let known = users.hashes.get(&name);
        let hash = known.unwrap_or(&users.dummy).clone();
        let tag = hmac::sign(&self.state.key, &password);
        let Ok(_permit) = self.state.checks.acquire().await else {
            return false;
        };
        let checked =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let right = checked.await.unwrap_or(false) && known.is_some();
        if right {
            users.succeeded.write().insert(name, tag);
        }
        right
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Users")
    }
}

/// A hash no password is known for, as costly as the costliest of `hashes`.
fn dummy_hash(hashes: &HashMap<String, String>) -> String {
    let cost = hashes
        .values()
        .filter_map(|hash| hash.parse::<bcrypt::HashParts>().ok())
        .map(|parts| parts.get_cost())
        .max()
        .unwrap_or(DUMMY_COST);
    // Salt and digest in bcrypt's alphabet; that they belong together is as likely as a guess.
    format!("$2b${cost:02}$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232")
}

/// User name and password of an `Authorization: Basic …` header.
fn basic_credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let users = Users::new();
        let hash = bcrypt::hash("secret", 4).expect("hash");
        users.replace(HashMap::from([("ann".to_owned(), hash)]));
        users
    }

    fn basic(name: &str, password: &str) -> HeaderMap {
        let encoded = STANDARD.encode(format!("{name}:{password}"));
        let value = format!("Basic {encoded}").parse().expect("header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_and_a_wrong_one_still_refused() {
        let users = users();
        for _ in 0..2 {
            assert_eq!(users.caller(&basic("ann", "secret")).await, Caller::User);
            assert_eq!(users.caller(&basic("ann", "Secret")).await, Caller::Refused);
        }
        assert_eq!(users.caller(&HeaderMap::new()).await, Caller::Anonymous);
        assert_eq!(users.named_by(&basic("ann", "secret")).as_deref(), Some("ann"));
        assert_eq!(users.named_by(&HeaderMap::new()), None);
        assert_eq!(Users::new().named_by(&basic("ann", "secret")), None);
    }

    #[tokio::test]
    async fn strangers_and_malformed_headers_are_refused() {
        let users = users();
        assert_eq!(users.caller(&basic("bob", "secret")).await, Caller::Refused);
        assert_eq!(users.caller(&basic("", "")).await, Caller::Refused);
        for text in ["Basic", "Basic !!", "Bearer abc", "Basic YWJj"] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, text.parse().expect("header"))]);
            assert_eq!(users.caller(&headers).await, Caller::Refused, "{text}");
        }
    }

    #[tokio::test]
    async fn a_changed_password_is_in_force_at_once() {
        let users = users();
        assert_eq!(users.caller(&basic("ann", "secret")).await, Caller::User);
        let hash = bcrypt::hash("other", 4).expect("hash");
        users.replace(HashMap::from([("ann".to_owned(), hash)]));
        assert_eq!(users.caller(&basic("ann", "secret")).await, Caller::Refused);
        assert_eq!(users.caller(&basic("ann", "other")).await, Caller::User);
    }

    #[test]
    fn the_dummy_is_a_hash_of_the_same_cost() {
        let hash = bcrypt::hash("x", 5).expect("hash");
        let dummy = dummy_hash(&HashMap::from([("ann".to_owned(), hash)]));
        assert_eq!(dummy.parse::<bcrypt::HashParts>().expect("well formed").get_cost(), 5);
        assert!(!bcrypt::verify("x", &dummy).expect("well formed"));
    }
}
